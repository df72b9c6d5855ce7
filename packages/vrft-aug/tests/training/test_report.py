"""The report page and its JSON."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html import unescape

import pytest

from medcore.errors import InputError
from vrft_aug.completions import LoggedStage, TableFacts, read_table
from vrft_aug.data import load_stages
from vrft_aug.evaluation import compare, judge, measure
from vrft_aug.ledger import Ledger, StageRecord
from vrft_aug.recipe import EvaluationSettings
from vrft_aug.report import (
    RunFacts,
    change,
    edge_rounds,
    examples_figure,
    interval,
    knowledge_origins,
    pick,
    read_run,
    reward_panels,
    sample_groups,
    write_audit,
    write_report,
)

QUICK = EvaluationSettings(resamples=100)


def seen(page):
    """The text of a page, cells apart."""
    return plain(unescape(re.sub(r"(\s*<[^>]+>\s*)+", " | ", page)))


def plain(text):
    """A text with simple spaces."""
    return " ".join(text.split())


def test_the_page_has_what_a_reader_needs_and_loads_nothing(finished):
    text = (finished.folder / "report.html").read_text()
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", text)
    assert headings == [
        "Held-out results",
        "Training: warm-start",
        "Training: perception",
        "Training: reasoning",
        "Rewards",
        "What it took",
        "Examples: perception",
        "Examples: reasoning",
        "Data and knowledge",
        "Provenance",
    ]
    assert "<script" not in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    accuracy = finished.evaluations["final"][1].metrics["accuracy"]
    assert interval(accuracy) in text
    assert str(finished.folder) not in text
    shown = seen(text)
    assert all(digest in shown for digest in finished.ledger.data.values())
    assert "No knowledge was put into the prompts." in shown
    assert "No reward failed on any completion." in shown


def test_the_json_holds_the_same_numbers(finished):
    facts = json.loads((finished.folder / "report.json").read_text())
    assert facts["evaluations"]["final"][1]["metrics"]["accuracy"]["value"] == finished.evaluations["final"][1].main.value
    assert facts["stages"]["reasoning"]["completions"] == 64
    difference = facts["changes"][1]["difference"]["value"]
    before, after = (finished.evaluations[k][1].main.value for k in ("start", "final"))
    assert difference == pytest.approx(after - before)


def test_a_policy_does_not_differ_from_itself(finished):
    result = finished.evaluations["final"][1]
    found = change(result, result)
    assert (found["difference"]["value"], found["difference"]["low"], found["difference"]["high"]) == (0, 0, 0)
    assert found["p_value"] == 1


def graded(i, grade, answer):
    row = {"sample_id": str(i), "task": "grading", "grade": grade, "classes": ["a", "b", "c"], "num_grades": 3}
    return judge(row, f"<think>t</think><answer>{answer}</answer>")


def test_examples_show_wrong_answers_first_and_several_classes():
    predictions = [graded(i, i % 3, "abc"[i % 3] if i % 4 else "c") for i in range(60)]
    chosen = pick(predictions)
    assert len(chosen) == len(set(chosen)) == 6
    wrong = [i for i in chosen if not predictions[i]["correct"]]
    assert chosen[: len(wrong)] == wrong
    assert len(wrong) == 3
    assert {predictions[i]["grade"] for i in chosen} == {0, 1, 2}
    assert pick(predictions[1:2]) == [0]


def test_boxes_are_drawn_where_they_are():
    from PIL import Image

    row = {
        "sample_id": "x",
        "task": "localisation",
        "boxes": [[2.0, 3.0, 6.0, 9.0]],
        "image_size": [16, 16],
        "box_frame": [16.0, 16.0],
    }
    prediction = judge(row, "<think>t</think><answer>[1, 2, 3, 5]</answer>")
    figure = examples_figure([Image.new("L", (16, 16))], [prediction])
    drawn = [(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in figure.axes[0].patches]
    # Pixel centres are whole numbers on the axis, edges lie half a pixel before them.
    assert drawn == [(1.5, 2.5, 4.0, 6.0), (0.5, 1.5, 2.0, 3.0)]


def test_curves_come_from_the_log_with_gaps_left_out():
    history = [
        {"step": 1, "reward": 1.0, "rewards/accuracy/mean": 0.5, "rewards/format/mean": None, "entropy": 0.3},
        {"step": 2, "reward": 2.0, "rewards/accuracy/mean": 0.75, "rewards/format/mean": 1.0},
        {"step": 2, "train_runtime": 3.0},
    ]
    panels = reward_panels(history)
    assert panels["rewards (mean)"] == {"accuracy": ([1, 2], [0.5, 0.75]), "format": ([2], [1.0])}
    assert panels["total reward"] == {"total": ([1, 2], [1.0, 2.0])}
    assert panels["KL to the reference"] == {}


def test_a_page_made_again_is_the_same(finished, tmp_path):
    parts = load_stages(read_run(finished.folder).recipe().stages)
    names = ("perception", "reasoning")
    train = {name: p.train for name, p in zip(names, parts, strict=True)}
    held_out = {name: p.held_out for name, p in zip(names, parts, strict=True)}
    write_report(read_run(finished.folder), train=train, held_out=held_out, output=tmp_path)
    for name in ("report.html", "report.json"):
        assert (tmp_path / name).read_bytes() == (finished.folder / name).read_bytes()
    write_report(read_run(finished.folder), output=tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert text.count("The images are not shown") == 2
    assert text.count("<img") < (finished.folder / "report.html").read_text().count("<img")
    assert interval(finished.evaluations["final"][1].main) in text


def test_completions_of_learning_are_shown_with_their_rewards(finished):
    shown = seen((finished.folder / "report.html").read_text())
    facts = read_run(finished.folder)
    for group in sample_groups(facts.tables["reasoning"]):
        for entry in (group[0], group[-1]):
            assert entry["completion"][-1]["content"].strip()[:20] in shown
            assert f"accuracy {entry['rewards']['accuracy']:.3g}" in shown


def test_the_group_with_the_widest_advantages_is_chosen():
    def entry(i, group, round_number, advantage):
        return {"round": round_number, "group": group, "advantage": advantage, "name": i}

    values = [[0.0, 0.0, 1.0, -1.0], [0.5, -0.5, None, 0.1]]
    entries = [entry(f"{r}{i}", i // 2, r, v) for r, row in enumerate(values) for i, v in enumerate(row)]
    facts = TableFacts(rewards=("x",), weights=(1.0,), generations=2, scale_rewards="group", aggregation="sum_then_normalize")
    groups = sample_groups(LoggedStage(name="s", facts=facts, rows=[], entries=entries))
    assert [[e["name"] for e in group] for group in groups] == [["02", "03"], ["10", "11"]]
    assert sample_groups(LoggedStage(name="s", facts=facts, rows=[], entries=[])) == []


@pytest.mark.parametrize("block", [64, 4096, 1 << 20])
def test_the_first_and_the_last_round_are_read_from_a_table(finished, tmp_path, monkeypatch, block):
    monkeypatch.setattr("vrft_aug.report.reading._BLOCK", block)
    folder = tmp_path / "completions"
    shutil.copytree(finished.folder / "stages" / "2-reasoning" / "completions", folder)
    whole = read_table(folder, "reasoning")
    rounds = whole.rounds()
    found = edge_rounds(folder, "reasoning")
    assert found.entries == [whole.entries[i] for part in (rounds[0], rounds[-1]) for i in part]
    assert (found.rows, found.facts) == (whole.rows, whole.facts)
    table = folder / "completions.jsonl"
    content = table.read_bytes()
    table.write_bytes(content[:-20])
    torn = edge_rounds(folder, "reasoning").entries
    n = whole.facts.generations
    assert torn == found.entries[:-n]
    table.write_bytes(b"".join(content.splitlines(keepends=True)[: len(rounds[0])]))
    assert edge_rounds(folder, "reasoning").entries == found.entries[: len(rounds[0])]
    table.write_bytes(b"")
    assert edge_rounds(folder, "reasoning").entries == []
    table.write_bytes(b'{"no": 1}\n{"no": 2}\n')
    with pytest.raises(InputError, match=r"completions\.jsonl: cannot be read"):
        edge_rounds(folder, "reasoning")


def test_a_run_that_is_not_finished_has_a_page(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished.folder, out)
    for name in ("evaluation.json", "predictions.jsonl", "run.json", "audit.json"):
        (out / name).unlink()
    write_report(read_run(out))
    shown = seen((out / "report.html").read_text())
    assert "nothing has been judged on held-out images" in shown
    assert "Training: reasoning" in shown
    assert "Held-out results" not in shown
    (out / "ledger.json").write_text("{}")
    with pytest.raises(InputError, match=r"ledger\.json: cannot be read"):
        read_run(out)
    with pytest.raises(InputError, match="is not the folder of a run"):
        read_run(tmp_path)


def results(answers, probe=None):
    """Results of a policy that answers `answers` to true grades 0, 1, 2, 0, ..."""
    found = measure([graded(i, i % 3, a) for i, a in enumerate(answers)], "grading", "abc", QUICK, name="grades")
    if probe is None:
        return found
    return replace(found, probes={"shuffled": compare(found, results(probe), "shuffled", QUICK)})


def page_of(tmp_path, evaluations, **more):
    ledger = more.pop("ledger", Ledger(folder=tmp_path, recipe={}, data={"grades": "0" * 64}, stages={"grades": StageRecord()}))
    facts = RunFacts(folder=tmp_path, ledger=ledger, record={"versions": {}}, evaluations=evaluations, **more)
    summary = write_report(facts)
    return seen((tmp_path / "report.html").read_text()), summary


@pytest.mark.parametrize(
    ("probe", "state", "said"),
    [
        ("bca" * 10, "Passed", "so that it looks at the picture"),
        ("abc" * 10, "Warning", "may answer without looking at the picture"),
    ],
)
def test_the_page_says_whether_the_picture_is_needed(tmp_path, probe, state, said):
    found = results("abc" * 10, probe)
    shown, summary = page_of(tmp_path, {"start": [results("abc" * 10)], "final": [found]})
    line = next(part for part in shown.split(" | ") if said in part)
    assert line.startswith("grades: with other samples' images the policy loses")
    assert f"{state} | {line}" in shown
    assert f"other samples' images | {plain(interval(found.probes['shuffled'].result.main))}" in shown
    assert summary["evaluations"]["final"][0]["probes"]["shuffled"]["reliance"]["value"] == (1 if probe.startswith("bca") else 0)


def test_every_policy_and_every_task_stand_in_one_table(tmp_path):
    evaluations = {name: [results(a)] for name, a in (("start", "a" * 30), ("after first", "ab" * 15), ("final", "abc" * 10))}
    shown, _ = page_of(tmp_path, evaluations)
    for name, (result,) in evaluations.items():
        assert f"{name} | {plain(interval(result.main))}" in shown
    assert "after reinforcement learning better than before it" in shown


def test_refusals_failures_and_knowledge_are_shown(tmp_path):
    record = StageRecord(state="complete", unjudged={"mine": {"time-out": 3}})
    ledger = Ledger(folder=tmp_path, recipe={}, data={}, stages={"grades": record})
    shown, _ = page_of(tmp_path, {"start": [results("abc" * 10)], "final": [results("ab?" * 10)]}, ledger=ledger)
    assert "grades | mine | time-out | 3" in shown
    assert "The reward of grades, mine failed on 3 completions" in shown
    reason = next(iter(results("ab?" * 10).refusals))
    assert f"{reason} | 0.333" in shown
    assert "after reinforcement learning worse than before it" in shown


def test_where_scores_come_from_is_said(tmp_path):
    table = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    predictions = [graded(i, i % 3, "abc"[i % 3]) | {"scores": table[i % 3]} for i in range(30)]
    found = measure(predictions, "grading", "abc", QUICK, name="grades")
    shown, _ = page_of(tmp_path, {"start": [found], "final": [found]})
    assert "are of the probability of each class as the answer (teacher forcing)." in shown
    assert "grades: AUROC | 1.000" in shown
    assert "in bins of confidence" in shown


def test_a_bad_reward_is_named_on_the_page(tmp_path, small, as_recipe, one_stage):
    one_stage["stages"][0]["task"] = "classification"
    one_stage["stages"][0]["rewards"] = [{"name": "vrft_aug.rewards.known_bad:substring"}]
    recipe = as_recipe(one_stage)
    audit = write_audit(tmp_path, recipe, {"reasoning": load_stages(recipe.stages)[0].train})
    assert json.loads((tmp_path / "audit.json").read_text()) == audit
    assert audit["stages"][0]["faults"]
    shown, summary = page_of(tmp_path, {}, audit=audit)
    assert f"reasoning: {len(audit['stages'][0]['faults'])} attacks or faults of the rewards" in shown
    assert audit["stages"][0]["faults"][0] in shown
    assert summary["audit"] == audit


def test_knowledge_has_an_origin(tmp_path, one_stage, as_recipe):
    file = tmp_path / "k.yaml"
    file.write_text("task: Films.\nprovenance: {author: A. Author, model: none, date: 2026-01-31, licence: CC-BY-4.0}\n")
    one_stage["stages"][0]["knowledge"] = {"file": str(file)}
    found = knowledge_origins(as_recipe(one_stage))
    assert found["reasoning"]["author"] == "A. Author"
    assert len(found["reasoning"]["sha256"]) == 64
    facts = RunFacts(folder=tmp_path, ledger=Ledger(folder=tmp_path, recipe={}, data={}), record={"knowledge": found})
    write_report(facts)
    assert "A. Author | none | 2026-01-31 | CC-BY-4.0" in seen((tmp_path / "report.html").read_text())
    assert knowledge_origins(as_recipe({**one_stage, "stages": [{**one_stage["stages"][0], "knowledge": None}]})) == {}
