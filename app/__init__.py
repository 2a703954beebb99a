"""The page and the API of Imaginary Cafeteria: HTTP on this side, pictures from ``model`` on the other."""
