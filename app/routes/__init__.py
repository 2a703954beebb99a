"""The server's routes, in one module and router for each kind of client."""

from app.routes import api, composed, health, openai, pages

ROUTERS = (pages.router, api.router, composed.router, health.router, openai.router)
