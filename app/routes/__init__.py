"""The addresses of the server, and what each answers: a module and a router for each kind of client."""

from app.routes import api, health, openai, pages

ROUTERS = (pages.router, api.router, health.router, openai.router)
