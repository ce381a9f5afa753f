"""Well-typed recipes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hypothesis import strategies as st

from harmony_compiler.graph.graph import ONE_DEVICE, Launch
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Recipe as RecipeSettings
from harmony_compiler.graph.types import MODEL
from harmony_dsl.testing.layout import write
from harmony_dsl.testing.scene import Scene
from harmony_dsl.testing.tree import Block, Declaration, Recipe
from harmony_dsl.testing.values import Drawn, Within
from harmony_dsl.testing.variants import split

LAUNCHES = (ONE_DEVICE, Launch(2, 1), Launch(4, 2))


@st.composite
def recipes(
    draw: st.DrawFn,
    *,
    without: Collection[str] = (),
    numbers: Mapping[str, tuple[float, float]] | None = None,
    launches: Collection[Launch] = LAUNCHES,
    layouts: bool = True,
) -> Recipe:
    """Recipes without errors, over the files of `write_data`, made from the catalogue itself.

    Constructors, fields, types, bounds, examples and rules are read from the node classes, so what is new
    there is generated. `without` names constructors, fields and, in quotes, options to leave out; `numbers`
    gives fields that are always written, with the smallest and the largest number in them. `layouts` asks for
    all the ways to write a recipe; without, each is written the plain way.
    """
    launch = draw(st.sampled_from(tuple(launches)))
    scene = Scene(draw, Within(frozenset(without), dict(numbers or {})), launch)
    if scene.chance(60):
        _recipe(scene)
    for _ in range(1 + scene.chance(40) + scene.chance(10)):
        scene.stage()
    for _ in range(scene.chance(40)):
        scene.evaluation()
    _saves(scene)
    seed = draw(st.integers(0, 2**16)) if layouts else 0
    declarations = tuple(scene.declarations)
    recipe = Recipe(write(declarations, seed), declarations, launch, tuple(scene.settings))
    return split(recipe, scene.pick, seed) if scene.chance(15) else recipe


def _recipe(scene: Scene) -> None:
    drawn = scene.block(RecipeSettings, share=50)
    scene.seed = drawn.data.values["seed"]
    assert isinstance(drawn.expression, Block)
    scene.declarations.append(Declaration("recipe", "generated", drawn.expression))


def _saves(scene: Scene) -> None:
    """Save some of the models, each under a key of its own."""
    models = [one for one in scene.known if one.type == MODEL]
    for number, model in enumerate(scene.some(models, len(models)) if models else (), 1):
        given = {"model": model, "key": Drawn(f'"tuned-{number}"', f"tuned-{number}")}
        saved = scene.block(Save, given)
        assert isinstance(saved.expression, Block)
        scene.declarations.append(Declaration("save", "", saved.expression))
