"""The addresses of the server, and what each answers: a module and a router for each kind of client."""

from app.routes import api, composed, health, openai, pages

ROUTERS = (pages.router, api.router, composed.router, health.router, openai.router)
