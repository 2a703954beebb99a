"""Families of dishes by their form, so that training shows each about as often.

Half of all recipes are soups, salads, stews and plain bowls. With every photograph shown as often as any other, a
generator makes a bowl of whatever it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from model.features.matching import name_weights

FAMILIES = (
    "soups? stews? chili chowders? bisques? gumbo broth pho pot",
    "ramen noodles? udon soba pad.thai",
    "pasta spaghetti macaroni lasagn[ae] ravioli gnocchi penne linguine mac",
    "salads? coleslaw ceviche tartare carpaccio",
    "curry curries dal masala",
    "pizzas? flatbreads? bruschetta",
    r"\w*burgers? sliders?",
    "sushi nigiri maki",
    "sashimi rolls?",
    "dumplings? gyoza wontons? shumai samosas? buns?",
    "pancakes? crepes?",
    "waffles? french.toast",
    r"\w*cakes? tortes? brownies? tiramisu",
    "cookies? macarons? biscuits? scones? shortbread",
    "pies? tarts? quiches? galettes? cobblers? crisps?",
    "sandwich(?:es)? toast hot.dogs? grilled.cheese croque.madame wraps?",
    "burritos? tacos? quesadillas? enchiladas? nachos",
    "ice.cream frozen.yogurt parfaits? sundaes? gelato sorbet smoothies? shakes?",
    "mousse pudding panna.cotta creme.brulee custard flan",
    "dou?g?h?nuts? beignets? churros? muffins? bagels? bread croissants? cannoli baklava",
    "rice risotto paella bowls? bibimbap pilaf jambalaya",
    "omelett?e?s? eggs? frittata eggs.benedict",
    "steaks? ribs? filet.mignon chops? pork beef lamb meatloaf roast",
    "chicken wings? turkey duck",
    "fish salmon shrimp scallops? cod tuna oysters? mussels? calamari",
    "fries potato(?:es)? onion.rings? poutine falafel takoyaki crab.cakes? tots?",
    "casseroles? gratin bake stir.fry skillet mash",
    "dip hummus guacamole sauce salsa spread",
)
OTHER = len(FAMILIES)
NAME_POWER, FAMILY_POWER = 0.75, 0.4

_FAMILIES = [re.compile(rf"\b(?:{'|'.join(words.split())})\b") for words in FAMILIES]
_ASIDE = re.compile(r"\b(?:with|in|on)\b")


def family(name: str) -> int:
    """The index in `FAMILIES` of an English name, by its last word that belongs to one, before "with", "in" or "on";
    `OTHER` if none does."""
    told = _ASIDE.split(name.lower())[0]
    ends = ((match.end(), i) for i, pattern in enumerate(_FAMILIES) for match in pattern.finditer(told))
    return max(ends, default=(0, OTHER))[1]


def photo_weights(names: Sequence[str]) -> Tensor:
    """(N,) float64: how often photographs with these names are shown.

    Photographs of one name together weigh their number to the power of NAME_POWER, and names of one family their sum
    to the power of FAMILY_POWER.
    """
    weights = name_weights(names, NAME_POWER)
    families = torch.tensor([family(name) for name in names])
    return weights * torch.bincount(families, weights)[families] ** (FAMILY_POWER - 1.0)
