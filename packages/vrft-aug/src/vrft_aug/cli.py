"""The ``vrft-aug`` command line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
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
        Literal["scans", "pneumonia", "grades", "boxes", "prepared"],
        typer.Argument(help="Drawn scans (no data needed), PneumoniaMNIST, grades, boxes and then grades, or your prepared data."),
    ] = "scans",
    output: Annotated[Path, typer.Option("-o", "--output", help="Recipe to write.")] = Path("recipe.yaml"),
    data: Annotated[Path | None, typer.Option(help="Your data, a file or folder as the recipe says.")] = None,
    preset: Annotated[
        Literal["grpo-classic", "vrft", "vrft-aug", "lora-single-gpu", "zero3-8gpu"] | None,
        typer.Option(help="Settings for a real model: plain GRPO, the baseline, the whole method, one GPU, eight GPUs."),
    ] = None,
) -> dict[str, Any]:
    """Write a commented recipe to start from; without a preset for the tiny model, which trains on any machine."""
    from medcore.atomic import check_writable, write_text
    from vrft_aug import presets
    from vrft_aug.templates import template

    path = None if data is None else str(data.resolve())
    if preset is None:
        files = {output: template(kind, recipe=str(output), data=path)}
    else:
        files = {output: presets.preset(preset, kind, recipe=str(output), data=path)}
        if presets.uses_knowledge(preset):
            files[output.with_name(presets.knowledge_name(str(output)))] = presets.knowledge_text(kind)
    if run.dry_run:
        run.say(f"would write {', '.join(map(str, files))} ({kind})")
    else:
        for file in files:
            check_writable(file, force=run.force)
        for file, text in files.items():
            write_text(file, text)
        run.say(f"wrote {', '.join(map(str, files))}; next: vrft-aug plan {output}")
    return {
        "recipe": str(output),
        "kind": kind,
        "preset": preset,
        "files": [str(file) for file in files],
        "written": not run.dry_run,
    }


Readable = Literal["medmnist", "grades", "folder", "voc", "coco", "masks", "dicom", "vqa"]


@commandline.command(app, writes=True, seeded=True)
def prepare(
    run: Invocation,
    kind: Annotated[
        Readable, typer.Argument(help="What the data are; folder: images with a CSV table of classes or a folder for each.")
    ],
    source: Annotated[Path, typer.Argument(help="File or folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write; a recipe reads it as kind prepared.")],
    classes: Annotated[str | None, typer.Option(help="Names of all classes, or of the grades in rising order: a,b,c.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of the reader, NAME=VALUE; repeat it.")] = None,
    window: Annotated[str | None, typer.Option(help="dicom: CENTRE,WIDTH, file, range, or for CT lung, bone, brain, ...")] = None,
    split: Annotated[str | None, typer.Option(help="Shares of train, val and perhaps test, by subject: 0.7,0.15,0.15.")] = None,
    grey: Annotated[
        str, typer.Option(help="Images of more than 8 bits: percentile, range, or LOWEST,HIGHEST value.")
    ] = "percentile",
    allow: Annotated[list[str] | None, typer.Option(help="A fault whose samples are left out and counted; repeat it.")] = None,
    near: Annotated[bool, typer.Option("--near/--no-near", help="Look for near duplicates too.")] = True,
) -> dict[str, Any]:
    """Check your own data and write them in one form: exit code 8, and nothing written, if they have faults that are not allowed."""
    from vrft_aug.preparing import command

    settings = command.settings_of(
        kind, source, classes=classes, option=option, window=window, split=split, grey=grey, allow=allow, near=near, seed=run.seed
    )
    return command.run_prepare(run, settings, output)


@commandline.command(app, recipe=True)
def plan(run: Invocation, recipe: RecipeFile) -> dict[str, Any]:
    """Check a recipe and its data, and say what training would do and cost. Loads no weights, asks no server."""
    from vrft_aug.plan_text import cost_lines, overall_lines
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
        for line in cost_lines(stage):
            run.say(line)
        for note in stage["notes"]:
            run.say(f"  note       {note}")
    run.say()
    for line in overall_lines(facts):
        run.say(line)
    return facts


@commandline.command(app, "dry-run", recipe=True)
def try_out(
    run: Invocation,
    recipe: RecipeFile,
    steps: Annotated[int, typer.Option(min=1, max=10, help="Steps of the optimiser in each stage.")] = 2,
    keep: Annotated[Path | None, typer.Option(help="Keep what the run writes in this folder.")] = None,
) -> dict[str, Any]:
    """Train every stage for a moment on the CPU with a tiny model of the same architecture, and say what happened."""
    from vrft_aug.recipe import load_recipe

    wanted = load_recipe(recipe, run.overrides)
    with _quiet_libraries():
        from vrft_aug.dry_run import DryRunSettings, dry_run
        from vrft_aug.plan_text import dry_run_lines

        facts = dry_run(wanted, DryRunSettings(steps=steps), keep=keep, say=run.say)
    for line in dry_run_lines(facts):
        run.say(line)
    if facts["faults"]:
        from medcore.errors import CheckFailedError

        run.emit(facts)
        raise CheckFailedError(f"dry run of {recipe}", f"has {len(facts['faults'])} faults", "see the list")
    return facts


@commandline.command(app, writes=True, recipe=True)
def train(
    run: Invocation,
    recipe: RecipeFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder where it was interrupted.")] = False,
) -> dict[str, Any] | None:
    """Train as the recipe says, judge the policy on held-out images, write a report. Can be killed and resumed."""
    from vrft_aug.recipe import load_recipe

    wanted = load_recipe(recipe, run.overrides)
    if run.dry_run:
        from vrft_aug.planning import plan as make_plan

        facts = make_plan(wanted)
        run.say(f"would train {', '.join(s['name'] for s in facts['stages'])} and write {output}")
        return facts
    with _quiet_libraries():
        from vrft_aug.stages import run_recipe

        result = run_recipe(wanted, output, resume=resume, force=run.force, say=run.say)
    for found in result.evaluations["final"]:
        _show_result(run, found)
    run.say(f"policy {output / 'final'}, report {output / 'report.html'}")
    return {
        "output": str(output),
        "policy": str(output / "final"),
        "report": str(output / "report.html"),
        "evaluations": {policy: [r.as_dict() for r in found] for policy, found in result.evaluations.items()},
    }


@commandline.command(app, writes=True, recipe=True)
def evaluate(
    run: Invocation,
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a policy, a checkpoint, or a run (its last policy).")],
    recipe: Annotated[Path, typer.Option(help="Recipe whose held-out images are judged.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for evaluation.json and predictions.jsonl.")] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            "--probes",
            help="Ask again with blank or shuffled images, with no-knowledge, or for another format: form-thinking, form-reasoning, "
            "form-boxed, form-line. Repeat it, or say all.",
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option("-k", "--samples", help="Sampled answers of each image, the K of Pass@K.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the sampled answers.")] = None,
    likelihood: Annotated[
        bool | None, typer.Option("--likelihood/--no-likelihood", help="Score every class, for AUROC and calibration.")
    ] = None,
) -> dict[str, Any]:
    """Judge a policy on the held-out images of a recipe."""
    from dataclasses import replace

    from medcore.config import from_mapping, to_mapping
    from vrft_aug.recipe import EvaluationSettings, load_recipe

    wanted = load_recipe(recipe, run.overrides)
    given = {"probes": probe, "samples": samples, "temperature": temperature, "likelihood": likelihood}
    options = to_mapping(wanted.evaluation) | {key: value for key, value in given.items() if value is not None}
    wanted = replace(wanted, evaluation=from_mapping(EvaluationSettings, options, "evaluation"))
    if run.dry_run:
        run.say(f"would judge {checkpoint} on {', '.join(s.name for s in wanted.stages)}")
        return {"checkpoint": str(checkpoint), "sets": [s.name for s in wanted.stages]}
    with _quiet_libraries():
        from vrft_aug.stages import evaluate_folder

        results = evaluate_folder(checkpoint, wanted, output, force=run.force)
    for found in results:
        _show_result(run, found)
    return {"checkpoint": str(checkpoint), "evaluations": [r.as_dict() for r in results]}


@commandline.command(app)
def report(
    run: Invocation,
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, finished or not.")],
    images: Annotated[bool, typer.Option("--images/--no-images", help="Read the run's data to show images.")] = True,
) -> dict[str, Any]:
    """Make the page of a run again from its folder, without a model."""
    from medcore.errors import MedcoreError
    from vrft_aug.report import read_run, write_report

    facts = read_run(folder)
    train, held_out = {}, {}
    if images:
        from vrft_aug.data import load_stages

        try:
            stages = facts.recipe().stages
            for stage, parts in zip(stages, load_stages(stages), strict=True):
                train[stage.name], held_out[stage.name] = parts.train, parts.held_out
        except MedcoreError as error:
            run.say(f"without images: {error}")
    write_report(facts, train=train, held_out=held_out)
    run.say(f"report {folder / 'report.html'}")
    return {"run": str(folder), "report": str(folder / "report.html"), "images": bool(train)}


@commandline.command(app, writes=True)
def rescore(
    run: Invocation,
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    weights: Annotated[str | None, typer.Option(help="Other weights: name=number,... with the rewards' names in logs.")] = None,
    reward: Annotated[list[str] | None, typer.Option(help="Other rewards than the run's, NAME[:key=value,...]; repeat it.")] = None,
    stage: Annotated[list[str] | None, typer.Option(help="A stage; by default all of them. Repeat it for several.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for a page, figures and tables.")] = None,
) -> dict[str, Any]:
    """Judge the completions of a run again: whether the logged rewards are reproduced, and what other weights change."""
    from medcore.atomic import check_writable
    from medcore.errors import CheckFailedError
    from medcore.provenance import RunRecord
    from vrft_aug import rescoring
    from vrft_aug.rewards.scoring import parse_specs

    if output is not None:
        check_writable(output, force=run.force)
    if run.dry_run:
        run.say(f"would judge the completions of {folder} again" + ("" if output is None else f" and write {output}"))
        return {"run": str(folder), "output": None if output is None else str(output)}
    found = rescoring.rescore(
        folder, weights=rescoring.parse_weights(weights), rewards=parse_specs(reward or []), stages=stage or []
    )
    facts = [judged.as_dict() for judged in found]
    _show_rescored(run, facts)
    if output is not None:
        from vrft_aug.rescore_page import write_rescored

        record = RunRecord(command="vrft-aug rescore", settings={"run": str(folder), "weights": weights, "reward": reward})
        write_rescored(output, found, record, force=run.force)
        run.say(f"page {output / 'rescore.html'}")
    result = {"run": str(folder), "output": None if output is None else str(output), "stages": facts}
    wrong = [f["name"] for f in facts if f["reproduced"] is False]
    if wrong:
        run.emit(result)
        raise CheckFailedError(f"run {folder}", f"is not reproduced in {', '.join(wrong)}", "see the table of its rewards")
    return result


@commandline.command(app, writes=True, recipe=True)
def preflight(
    run: Invocation,
    recipe: RecipeFile,
    policy: Annotated[
        Path | None, typer.Option(help="Folder of a policy, instead of the recipe's model without warm start.")
    ] = None,
    images: Annotated[int, typer.Option("-n", "--images", min=2, help="Training images of each stage.")] = 64,
    samples: Annotated[int, typer.Option("-k", "--samples", min=2, help="Completions of each image, the K of Pass@K.")] = 8,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON file for figures and verdicts.")] = None,
) -> dict[str, Any]:
    """Say for each stage, before training: RL, SFT first, or fix the reward. Exit code 8 unless all are ready for RL."""
    from medcore.atomic import check_writable, write_json
    from medcore.errors import CheckFailedError
    from vrft_aug.recipe import load_recipe

    wanted = load_recipe(recipe, run.overrides)
    names = [s.name for s in wanted.stages]
    if output is not None:
        check_writable(output, force=run.force)
    if run.dry_run:
        run.say(f"would sample {samples} completions of {images} images for {', '.join(names)}")
        return {"stages": names, "images": images, "samples": samples}
    with _quiet_libraries():
        from vrft_aug import preflight as checks

        settings = checks.PreflightSettings(images=images, samples=samples)
        found = checks.preflight(wanted, settings, policy=policy, say=run.say)
    thresholds = checks.Thresholds()
    verdicts = [checks.judge_figures(f, thresholds) for f in found]
    for figures, verdict in zip(found, verdicts, strict=True):
        run.say("\n" + "\n".join(checks.lines(figures, verdict)))
    facts = {"policy": str(policy or wanted.model.path), **checks.as_facts(found, thresholds)}
    if output is not None:
        write_json(output, facts, force=run.force)
    unready = [f"{name} ({v.advice})" for name, v in zip(names, verdicts, strict=True) if v.advice != "RL"]
    if unready:
        run.emit(facts)
        raise CheckFailedError("preflight", f"does not advise RL for {', '.join(unready)}", "see the reasons")
    return facts


@commandline.command(app, writes=True, seeded=True)
def demo(
    run: Invocation,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = Path("vrft-demo"),
) -> dict[str, Any]:
    """Train a tiny model in four ways on drawn films and compare them on held-out ones; about two minutes, no downloads."""
    if run.dry_run:
        run.say(f"would draw 600 films, train a tiny model four ways and write {output}")
        return {"output": str(output)}
    with _quiet_libraries():
        from vrft_aug.demo import DemoSettings, run_demo, table

        summary = run_demo(output, DemoSettings(seed=run.seed), force=run.force, say=run.say)
    run.say()
    run.table(*table(summary))
    run.say(f"\n{summary['held_out']} held-out films, 95 % intervals in brackets")
    run.say(f"report {output / 'report.html'}")
    return {"output": str(output), "report": str(output / "report.html"), **summary}


@commandline.command(app)
def doctor(run: Invocation) -> dict[str, Any]:
    """Tell whether this machine can train: versions, GPU, threads, torchvision, deepspeed, telemetry."""
    from medcore.errors import CheckFailedError

    with _quiet_libraries():
        from vrft_aug.doctor import examine

        facts = examine()
    run.table(["library", "version"], [(name, version or "absent") for name, version in facts["versions"].items()])
    for name in ("gpu", "threads", "cores", "torchvision", "deepspeed"):
        run.say(f"{name}: {facts[name] or 'none'}")
    run.say(f"telemetry: {'off' if facts['telemetry_off'] else 'on'}")
    for kind in ("notes", "faults"):
        for line in facts[kind]:
            run.say(f"{kind[:-1]}: {line}")
    if facts["faults"]:
        run.emit(facts)
        raise CheckFailedError("this machine", f"has {len(facts['faults'])} faults", "see the list")
    return facts


def _show_result(run: Invocation, found: Any) -> None:
    """One line for each held-out set."""
    from vrft_aug.report import interval, label

    shown = ", ".join(f"{label(key)} {interval(value)}" for key, value in found.metrics.items())
    run.say(f"{found.name}: {shown} ({len(found.predictions)} held-out images)")
    for name, probe in found.probes.items():
        if probe.result is None:
            run.say(f"  {name}: not made, {probe.reason}")
        else:
            run.say(f"  {name}: {interval(probe.result.main)}, reliance {interval(probe.reliance, sign=True)}")


def _show_rescored(run: Invocation, stages: list[dict[str, Any]]) -> None:
    """A table of rewards for each stage, and whether they came out again."""
    from vrft_aug.rescoring import verdict

    for facts in stages:
        run.say(f"{facts['name']}: {facts['completions']} completions, {facts['rounds']} rounds")
        rows = [
            (name, *(_shown(r.get(key)) for key in ("weight", "logged_weight", "mean", "judged", "not_judged", "different")))
            for name, r in facts["rewards"].items()
        ]
        run.table(["reward", "weight", "logged weight", "mean", "judged", "not judged", "not as logged"], rows)
        run.say(f"{facts['advantages_with_another_sign']:.1%} of the advantages have another sign than in the run")
        run.say(f"{verdict(facts)[1]}\n")


def _shown(value: float | None) -> str:
    return "-" if value is None else format(value, ".4g")


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Telemetry off before the first heavy import, and whatever libraries print on standard error: it is for results only."""
    from vrft_aug.models.environment import prepare

    prepare()
    with contextlib.redirect_stdout(sys.stderr):
        yield


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


@commandline.command(rewards, writes=True)
def score(
    run: Invocation,
    file: Annotated[Path, typer.Argument(help="JSON lines with 'completion' and the columns the rewards need, or trl's parquet.")],
    reward: Annotated[
        list[str], typer.Option(help="NAME[:key=value,...], for example multi_grade_fuzzy:kernel=linear; repeat it.")
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV file for the table.")] = None,
) -> dict[str, Any]:
    """Say what completions in a file earn."""
    from medcore.atomic import check_writable
    from vrft_aug.rewards.scoring import score_file, write_scores

    if output is not None:
        check_writable(output, force=run.force)
    if run.dry_run:
        run.say(f"would judge {file} by {', '.join(reward)}" + ("" if output is None else f" and write {output}"))
        return {"file": str(file), "output": None if output is None else str(output)}
    facts = score_file(file, reward)
    for number, *values in zip(facts["lines"], *(found["scores"] for found in facts["rewards"]), strict=True):
        run.say("\t".join([str(number), *("-" if value is None else format(value, "g") for value in values)]))
    for found in facts["rewards"]:
        run.say(f"{found['reward']}: mean {_shown(found['mean'])} of {found['judged']} judged, {found['not_judged']} not judged")
    if output is not None:
        write_scores(output, facts, force=run.force)
        run.say(f"table {output}")
    return facts


@commandline.command(rewards, recipe=True)
def audit(
    run: Invocation,
    recipe: RecipeFile,
    samples: Annotated[int, typer.Option(help="Training rows of each stage that are attacked.")] = 64,
    tolerance: Annotated[float, typer.Option(help="Excess passed over, as a share of right minus wrong.")] = 0.05,
) -> dict[str, Any]:
    """Attack the rewards of a recipe on its own data; exit code 8 if anything out-earns what it deserves."""
    from medcore.errors import CheckFailedError
    from vrft_aug.audit import AuditSettings, audit_recipe
    from vrft_aug.recipe import load_recipe

    found = audit_recipe(load_recipe(recipe, run.overrides), AuditSettings(samples=samples, tolerance=tolerance))
    for stage in found:
        run.say(f"\n{stage.name}: {stage.samples} rows; mean earned, and in brackets how much more than deserved")
        run.table(["completion", *stage.rewards], stage.table())
        run.say("\n".join(f"fault: {fault}" for fault in stage.faults) or "no attack out-earns what it deserves")
    facts = {"stages": [stage.as_dict() for stage in found], "faults": sum(len(stage.faults) for stage in found)}
    if facts["faults"]:
        run.emit(facts)
        raise CheckFailedError(f"rewards of {recipe}", f"have {facts['faults']} faults", "see the list, and change the rewards")
    return facts


knowledge = typer.Typer(help="Check texts that are injected into prompts.", no_args_is_help=True)
app.add_typer(knowledge, name="knowledge")


@commandline.command(knowledge, recipe=True)
def lint(
    run: Invocation,
    file: Annotated[Path, typer.Argument(help="Knowledge file, YAML.")],
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe that injects the file; its prompts are searched for leaks, too.")
    ] = None,
) -> dict[str, Any]:
    """Look for faults in a knowledge file and, with a recipe, for prompts that tell the label without the image. Loads no model."""
    from medcore.errors import CheckFailedError, ConfigError
    from vrft_aug.knowledge_check import check_knowledge
    from vrft_aug.recipe import load_recipe

    if recipe is None and run.overrides:
        raise ConfigError("--set", "changes a recipe, and none is given", "add --recipe")
    found = check_knowledge(file, None if recipe is None else load_recipe(recipe, run.overrides))
    for where, test in found.tests:
        guessed = f"{test.accuracy:.0%} of {test.samples} labels without the image, commonest label {test.majority:.0%}"
        run.say(f"{where}: the {test.what} gives {guessed}, p {test.p_value:.3g}")
    for finding in found.findings:
        run.say(str(finding))
    facts = found.as_dict()
    run.say("{faults} faults, {warnings} warnings".format(**facts))
    if found.faults:
        run.emit(facts)
        raise CheckFailedError(file, f"has {len(found.faults)} faults", "see the list")
    return facts


def main() -> None:
    """Entry point of the console script."""
    commandline.main(app)
