"""The ``vrft-aug`` command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medcore import commandline
from medcore.commandline import Invocation

app = commandline.application("vrft-aug", "vrft-aug", "Reinforcement fine-tuning of vision-language models for medical images.")
rewards = typer.Typer(help="List rewards, or try them on completions.", no_args_is_help=True)
app.add_typer(rewards, name="rewards")

RecipeFile = Annotated[Path, typer.Argument(help="Recipe, a YAML file; vrft-aug init writes one.")]


@commandline.command(app, writes=True)
def init(
    run: Invocation,
    kind: Annotated[
        Literal["scans", "pneumonia", "grades", "boxes"],
        typer.Argument(help="Drawn scans (no data needed), PneumoniaMNIST, ordinal grades, or boxes and then grades."),
    ] = "scans",
    output: Annotated[Path, typer.Option("-o", "--output", help="Recipe to write.")] = Path("recipe.yaml"),
    data: Annotated[Path | None, typer.Option(help="Your data, a file or folder as the recipe says.")] = None,
) -> dict[str, Any]:
    """Write a commented recipe to start from."""
    from medcore.atomic import check_writable, write_text
    from vrft_aug.templates import template

    text = template(kind, recipe=str(output), data=None if data is None else str(data.resolve()))
    if run.dry_run:
        run.say(f"would write {output} ({kind})")
    else:
        write_text(check_writable(output, force=run.force), text)
        run.say(f"wrote {output}; next: vrft-aug plan {output}")
    return {"recipe": str(output), "kind": kind, "written": not run.dry_run}


@commandline.command(app, recipe=True)
def plan(run: Invocation, recipe: RecipeFile) -> dict[str, Any]:
    """Check a recipe and its data, and say what training would do. Loads no model."""
    from vrft_aug.planning import plan as make_plan
    from vrft_aug.recipe import load_recipe

    facts = make_plan(load_recipe(recipe, run.overrides))
    if facts["warm_start"]:
        run.say("warm start: {steps} steps of {batch_size} images".format(**facts["warm_start"]))
    for stage in facts["stages"]:
        run.say("\n{name}: {task}, {train_images} training and {held_out_images} held-out images".format(**stage))
        run.say("  question   {question}".format(**stage))
        budget = "{steps} steps, {rounds} rounds of {prompts_per_round} images x {generations} = {completions} completions"
        run.say(f"  training   {budget.format(**stage)}; kept near: {stage['kl_reference']}")
        run.say("  rewards    " + ", ".join(f"{r['weight']:+g} {r['name']}" for r in stage["rewards"]))
        for note in stage["notes"]:
            run.say(f"  note       {note}")
    return facts


@commandline.command(rewards, "list")
def list_rewards(run: Invocation) -> dict[str, Any]:
    """List the installed rewards and their options."""
    from vrft_aug.rewards.building import describe_rewards

    found = describe_rewards()
    for entry in found:
        run.say("{name}: {summary}".format(**entry))
        for name, default in entry["options"].items():
            run.say(f"    {name} = {default}")
    return {"rewards": found}


@commandline.command(rewards)
def score(
    run: Invocation,
    file: Annotated[Path, typer.Argument(help="JSON lines, each with 'completion' and the columns the reward needs.")],
    reward: Annotated[str, typer.Option(help="NAME[:key=value,...], for example multi_grade_fuzzy:kernel=linear.")],
) -> dict[str, Any]:
    """Say what completions in a file earn."""
    from vrft_aug.rewards.scoring import score_file

    facts = score_file(file, reward)
    for number, value in enumerate(facts["scores"], start=1):
        run.say(f"{number}\t{'-' if value is None else format(value, 'g')}")
    mean = "-" if facts["mean"] is None else format(facts["mean"], ".4g")
    run.say(f"{facts['reward']}: mean {mean} of {facts['judged']} judged, {facts['not_judged']} not judged")
    return facts


def main() -> None:
    """Entry point of the console script."""
    commandline.main(app)
