"""Tables of the answers of `analyze` on held-out files, as `python -m benchmarks.answers` measured them."""

from typing import Any

from multimodal_fer.training.generated_pages import ROOT, read_result, table

RESULTS = ROOT / "benchmarks" / "results"
MISSING = "Not measured yet."
# Kind of data → its name, and titles of its rows.
ANSWERS = {
    "speech": ("held-out speakers", {"ravdess": "RAVDESS", "nemo": "nEMO (Polish)"}),
    "faces": ("held-out faces", {"FER+ test": "FER+ test, as short videos"}),
    "texts": (
        "held-out texts",
        {
            "goemotions": "GoEmotions, one label",
            "isear": "ISEAR",
            "so_emotion": "Stack Overflow",
            "meld": "MELD dev, never trained on",
            "usability_answers": "invented answers of usability tests",
            "factual_remarks": "invented factual remarks",
            "usability_remarks": "invented usability remarks, untouched half",
        },
    ),
}


def answers_table() -> str:
    """Return a table of the answers of `analyze` and `analyze_text`, beside the predictions of the parts."""
    results = {kind: read_result(RESULTS, f"answers-{kind}") for kind in ANSWERS}
    rows = [
        answer_row(row, ANSWERS[kind][1])
        for kind, result in results.items()
        for row in (result or {"rows": []})["rows"]
    ]
    if not rows:
        return MISSING
    head = ["data", "files", "UAR", "part UAR", "WA", "part WA", "macro-F1", "ECE"]
    head += ["unsure", "right if unsure / sure"]
    missing = [ANSWERS[kind][0] for kind, result in results.items() if result is None]
    notes = [f"Not measured yet: {', '.join(missing)}."] if missing else []
    return "\n\n".join(
        [
            table(head, rows),
            *notes,
            *factual_notes(results["texts"]),
            *valence_notes(results["texts"]),
            *sources(results),
        ]
    )


def answer_row(row: dict[str, Any], titles: dict[str, str]) -> list[str]:
    """Return one row: the metrics of the answers and of the part."""
    part, answer = row["part"], row["answer"]
    title = ", ".join(filter(None, [titles.get(row["data"], row["data"]), row.get("condition")]))
    unanswered = f", {answer['unanswered']:,} no answer" if answer["unanswered"] else ""
    right = " / ".join(percent(answer[kind]["accuracy"]) for kind in ("unsure", "sure"))
    return [
        title,
        f"{row['files']:,}{unanswered}",
        f"**{answer['uar']:.1%}**",
        f"{part['uar']:.1%}",
        f"{answer['accuracy']:.1%}",
        f"{part['accuracy']:.1%}",
        f"{answer['macro_f1']:.1%}",
        "–" if answer["calibration_error"] is None else f"{answer['calibration_error']:.3f}",
        percent(answer["unsure"]["share"]),
        right,
    ]


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def factual_notes(result: dict[str, Any] | None) -> list[str]:
    """Return a sentence on the factual remarks, which are all neutral, so that a UAR means little."""
    return [
        f"Of {row['files']} factual remarks {neutral(row['answer'])} are answered as neutral, at a mean "
        f"score of {row['answer']['mean_score_of_truth']:.2f} (the text network alone: "
        f"{neutral(row['part'])}, {row['part']['mean_score_of_truth']:.2f})."
        for row in (result or {"rows": []})["rows"]
        if row["data"] == "factual_remarks"
    ]


def valence_notes(result: dict[str, Any] | None) -> list[str]:
    """Return a sentence on the valence of texts; none for a result without it."""
    figures = (result or {}).get("valence", {})
    if not figures:
        return []
    remarks = figures["usability_remarks"]
    recall = ", ".join(f"{name} {percent(share)}" for name, share in remarks["recall"].items())
    return [
        f"Valence of texts: it correlates with EmoBank's ratings by {figures['emobank']['pearson']:.2f} "
        f"({figures['emobank']['texts']:,} sentences); its sign (positive, neutral, negative) has a weighted "
        f"F1 of {figures['meld']['weighted_f1']:.2f} on MELD dev and is right for "
        f"{percent(remarks['right'])} of {remarks['texts']} invented remarks that tuned nothing ({recall})."
    ]


def neutral(report: dict[str, Any]) -> int:
    return round(report["recall"]["neutral"] * report["support"]["neutral"])


def sources(results: dict[str, dict[str, Any] | None]) -> list[str]:
    """Return how the figures were measured, and if on a few samples only."""
    return [
        f"Measured on {result['date']} at commit `{result['commit']}` with `{result['bundle']}` by "
        f"`{result['command']}`" + (", on a few samples only." if result["limit"] else ".")
        for result in results.values()
        if result
    ]


def written_answers() -> str:
    """Return how the written answers of usability tests are classified, with all misses."""
    result = read_result(RESULTS, "answers-texts") or {"rows": []}
    for row in result["rows"]:
        if row["data"] == "usability_answers":
            right = round(row["answer"]["accuracy"] * row["files"])
            misses = [
                [miss["text"], miss["label"], miss["answer"] or "none", f"{miss['score']:.2f}"]
                for miss in row["misses"]
            ]
            return (
                f"Of {row['files']} invented written answers of usability tests, labelled before any network "
                f"was run on them, {right} get their label and {row['files'] - len(misses)} this or another "
                "label that a person could defend. The others:\n\n"
                + table(["text", "label", "answer", "score"], misses)
            )
    return MISSING
