"""The web pages and the API of Imaginary Cafeteria. This package handles HTTP; ``model`` makes the pictures."""
