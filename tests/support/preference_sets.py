"""Small preference sets as other tools write them, with real media: by hand, and with `datasets` where that is what wrote the original.

SETS and MORE: name -> function(folder) that fills the folder."""

import base64
import json
from pathlib import Path

from datasets import Dataset, Features, Image, List, Sequence, Value

from tests.support import media_files as make

MEDIA = {"cat.jpg": make.jpeg(1), "dog.png": make.png(2), "run.mp4": make.mp4(), "bark.wav": make.wav()}
TEXT = Value("string")
MESSAGES = List({"role": TEXT, "content": List({"type": TEXT, "text": TEXT})})
TALK = List({"role": TEXT, "content": TEXT})


def with_media(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in MEDIA.items():
        (folder / name).write_bytes(data)
    return folder


def jsonl(path: Path, *rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def parquet(path: Path, rows: list[dict], features: dict) -> None:
    Dataset.from_list(rows, features=Features(features)).to_parquet(path)


def embedded(name: str) -> dict:
    return {"bytes": MEDIA[name], "path": name}


def part(kind: str, text: str | None = None) -> dict:
    return {"type": kind, "text": text}


def says(role: str, *parts: dict) -> list[dict]:
    return [{"role": role, "content": list(parts)}]


def trl(folder: Path) -> None:
    """Conversational with images (one, two, none), explicit; two pairs of one prompt."""
    cat = says("user", part("image"), part("text", "What is this?"))
    two = says("user", part("text", "Compare"), part("image"), part("text", "with"), part("image"))
    rows = [
        (cat, "A cat.", "A dog.", [embedded("cat.jpg")]),
        (two, "Both are pets.", "No idea.", [embedded("cat.jpg"), embedded("dog.png")]),
        (cat, "A grey cat.", "A dog.", [embedded("cat.jpg")]),
        (says("user", part("text", "Hello?")), "Hi!", "Go away.", []),
    ]
    columns = [
        {"prompt": p, "chosen": says("assistant", part("text", c)), "rejected": says("assistant", part("text", r)), "images": i}
        for p, c, r, i in rows
    ]  # fmt: skip
    parquet(
        folder / "train.parquet", columns,
        {"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES, "images": List(Image())},
    )  # fmt: skip


def llama_factory(folder: Path) -> None:
    """A JSON array of ShareGPT rows, and files of Alpaca and KTO rows."""
    rows = [
        {"conversations": [{"from": "human", "value": "<image>Describe."}], "chosen": {"from": "gpt", "value": "A cat."},
         "rejected": {"from": "gpt", "value": "A horse."}, "images": ["cat.jpg"]},
        {"conversations": [{"from": "human", "value": "Hear <audio>, see <video>"}], "chosen": {"from": "gpt", "value": "A dog runs."},
         "rejected": {"from": "gpt", "value": "Rain."}, "videos": ["run.mp4"], "audios": ["bark.wav"]},
    ]  # fmt: skip
    (folder / "dpo.json").write_text(json.dumps(rows))
    jsonl(
        folder / "alpaca.jsonl",
        {"instruction": "Add.", "input": "1 + 1", "history": [["Hi", "Hello"]], "chosen": "2", "rejected": "3", "system": "Be short."},
    )  # fmt: skip
    talk = [{"role": "user", "content": "<image>A cat?"}, {"role": "assistant", "content": "Yes."}]
    jsonl(folder / "kto.jsonl", {"messages": talk, "kto_tag": True, "images": ["cat.jpg"]})


def ms_swift(folder: Path) -> None:
    """Another answer, another answer to another picture, the same answer to another picture, a label, a prompt alone."""
    asked = [{"role": "user", "content": "<image>What is this?"}]
    talk = [*asked, {"role": "assistant", "content": "This is a kitten."}]
    jsonl(
        folder / "swift.jsonl",
        {"messages": talk, "rejected_response": "This is a puppy.", "images": ["cat.jpg"], "margin": 0.5},
        {
            "messages": talk,
            "rejected_response": "This is a puppy.",
            "images": ["cat.jpg"],
            "rejected_images": ["dog.png"],
        },
        {"messages": talk, "rejected_messages": talk, "images": ["cat.jpg"], "rejected_images": ["dog.png"]},
        {"messages": talk, "label": False, "images": ["dog.png"]},
        {"messages": [{"role": "user", "content": "<video>What happens?"}], "videos": ["run.mp4"], "solution": "a run"},
    )


def rlaif_v(folder: Path) -> None:
    """The Hub's Parquet, and the pair stage's lines."""
    origin = json.dumps({"model": "LLaVA 1.5 7B", "type": "detailed description"})
    row = {
        "ds_name": "RLAIF-V", "image": embedded("cat.jpg"), "question": "Describe the picture.", "chosen": "A cat.", "rejected": "Two cats.",
        "origin_dataset": "COCO", "origin_split": origin, "idx": 7, "image_path": "cat.jpg",
    }  # fmt: skip
    kinds = dict.fromkeys(row, TEXT) | {"image": Image(), "idx": Value("int64")}
    parquet(folder / "hub.parquet", [row], kinds)
    scores = {"chosen": {"judge": "llava", "score": -1}, "rejected": {"judge": "llava", "score": -3}}
    jsonl(
        folder / "pairs.jsonl",
        {"image_id": "1", "image_path": "dog.png", "ds_question_id": "q1", "question": "And this?", "chosen": "A dog.",
         "rejected": "A wolf, a bear and a fox.", "org_infos": {"chosen_infos": {}, "rejected_infos": {}, "scores": scores}},
    )  # fmt: skip


AXES = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")


def vlfeedback(folder: Path) -> None:
    """Lines with a list of objects, and the same through `datasets`, which makes an object of lists of it."""

    def completion(model: str, response: str, *ratings: str) -> dict:
        slips = {axis: {"Rating": rating, "Rationale": f"Because of {axis}."} for axis, rating in zip(AXES, ratings)}
        return {"annotations": slips, "model": model, "response": response}

    def row(name: str, image: str) -> dict:
        answers = [completion("llava", "A pet.", "3", "5", "4"), completion("gpt4v", "A cat.", "5", "5", "N/A")]
        return {
            "id": name,
            "prompt": f"{name}?",
            "models": ["llava", "gpt4v"],
            "completions": answers,
            "img_path": image,
        }

    jsonl(folder / "lines.jsonl", row("first", "cat.jpg"))
    slip = {"Rating": TEXT, "Rationale": TEXT}
    completions = Sequence({"annotations": dict.fromkeys(AXES, slip), "model": TEXT, "response": TEXT})
    through = row("second", "dog.png")
    through["completions"] = {
        key: [c[key] for c in through["completions"]] for key in ("annotations", "model", "response")
    }
    kinds = {"id": TEXT, "prompt": TEXT, "models": List(TEXT), "completions": completions, "img_path": TEXT}
    parquet(folder / "through.parquet", [through], kinds)


def mm_rlhf(folder: Path) -> None:
    """A picture, a video, a tie, and a rejected side that saw another picture."""
    row = {"id": "1", "prompt": "What is it?", "chosen": "A cat.", "rejected": "A dog."}
    reasons = {"chosen_reason": "It is a cat.", "rejected_reason": "There is no dog."}
    jsonl(
        folder / "dpo_pairs.jsonl",
        row | reasons | {"image": "cat.jpg", "reference_chosen_logp": -3.5, "reference_rejected_logp": -4.0},
        row | {"id": "2", "video": "run.mp4", "is_tie": False},
        row | {"id": "3", "image": "dog.png", "is_tie": True},
        row | {"id": "4", "prompt": "Which?", "image": "cat.jpg", "mixed_up_image": "dog.png"},
    )


def mmpr(folder: Path) -> None:
    jsonl(
        folder / "geometry.jsonl",
        {"image": "cat.jpg", "question": "<image>\nHow many?", "chosen": "One. Answer: 1", "rejected": "Two. Answer: 2", "answer_gt": "1"},
        {"image": ["cat.jpg", "dog.png"], "question": "<image>\n<image>\nSame?", "chosen": "No", "rejected": "Yes", "answer_gt": "no"},
        {"question": "1 + 1?", "chosen": "2", "rejected": "3", "answer_gt": "2"},
    )  # fmt: skip


def llava(folder: Path) -> None:
    """A JSON array, one row with an earlier turn."""

    def talk(*turns: str) -> list[dict]:
        return [{"from": ("human", "gpt")[i % 2], "value": words} for i, words in enumerate(turns)]

    rows = [
        {"id": "1", "image": "cat.jpg", "conversations": talk("<image>\nDescribe.", "A cat."),
         "rejected_conversations": talk("<image>\nDescribe.", "A cat on a tree.")},
        {"id": "2", "image": "dog.png", "conversations": talk("Hm?\n<image>", "A dog.", "Its colour?", "Grey."),
         "rejected_conversations": talk("Hm?\n<image>", "A dog.", "Its colour?", "Pink.")},
    ]  # fmt: skip
    (folder / "povid.json").write_text(json.dumps(rows, indent=1))


def ultrafeedback(folder: Path) -> None:
    def talk(*turns: str) -> list[dict]:
        return [{"content": words, "role": ("user", "assistant")[i % 2]} for i, words in enumerate(turns)]

    row = {
        "prompt": "Why?", "prompt_id": "abc", "chosen": talk("Why?", "Because."), "rejected": talk("Why?", "No."),
        "messages": talk("Why?", "Because."), "score_chosen": 8.5, "score_rejected": 4.0,
    }  # fmt: skip
    kinds = {"prompt": TEXT, "prompt_id": TEXT, "chosen": TALK, "rejected": TALK, "messages": TALK}
    parquet(
        folder / "train_prefs.parquet",
        [row],
        kinds | dict.fromkeys(("score_chosen", "score_rejected"), Value("float64")),
    )


def distilabel(folder: Path) -> None:
    """Rated generations, one of them failed; and the pair of its DPO step."""
    jsonl(
        folder / "rated.jsonl",
        {"instruction": "What is this?", "system_prompt": "Be short.", "image": "cat.jpg", "image_type": "url",
         "generations": ["A cat.", "A dog.", None], "generation_models": ["m1", "m2", "m3"], "model_name": "judge",
         "ratings": [5, 2, None], "rationales": ["Right.", "Wrong.", None]},
    )  # fmt: skip
    talk = [{"content": "Hi?", "role": "user"}]
    jsonl(
        folder / "dpo.jsonl",
        {"prompt": "Hi?", "prompt_id": "x", "chosen": [*talk, {"role": "assistant", "content": "Hello."}],
         "rejected": [*talk, {"role": "assistant", "content": "Hm."}], "chosen_model": "m1", "rejected_model": "m2",
         "chosen_rating": 4.0, "rejected_rating": 1.0},
    )  # fmt: skip


def label_studio(folder: Path) -> None:
    """Two answers compared by two people and a model, a skipped one, one that is contested, one answer rated, items ranked."""

    def pairwise(side: str) -> dict:
        return {"type": "pairwise", "from_name": "comparison", "to_name": "comparison", "value": {"selected": side}}

    def slip(person, *results, **more) -> dict:
        return {"id": 1, "completed_by": person, "result": list(results), "was_cancelled": False} | more

    tie = {"type": "choices", "from_name": "sides", "to_name": "comparison", "value": {"choices": ["tie"]}}
    rating = {"type": "rating", "from_name": "quality", "to_name": "response", "value": {"rating": 4}}
    ranks = {"type": "ranker", "from_name": "rank", "to_name": "answers", "value": {"ranker": {"rank": ["b", "a"]}}}
    two = {"prompt": "What is it?", "answer1": "A dog.", "answer2": "A cat.", "image": "/data/local-files/?d=cat.jpg"}
    tasks = [
        {"id": 1, "data": two, "annotations": [slip(3, pairwise("right")), slip({"id": 4, "email": "a@b.c"}, pairwise("right"))],
         "predictions": [{"model_version": "m1", "result": [pairwise("left")]}]},
        {"id": 2, "data": two | {"prompt": "Skipped?"}, "annotations": [slip(3, was_cancelled=True)]},
        {"id": 3, "data": two | {"prompt": "Contested?"}, "annotations": [slip(3, pairwise("left")), slip(4, tie)]},
        {"id": 4, "data": {"question": "Good?", "response": "Fine."}, "annotations": [slip(3, rating)]},
        {"id": 5, "data": {"prompt": "Best?", "items": [{"id": "a", "body": "One."}, {"id": "b", "body": "Two."}]},
         "annotations": [slip(3, ranks)]},
    ]  # fmt: skip
    (folder / "project-1.json").write_text(json.dumps(tasks))


def rlhf_v(folder: Path) -> None:
    """The Hub's Parquet: question and answers as JSON."""
    said = json.dumps({"question": "What is this animal?", "chosen": "A cat.", "rejected": "A dog."})
    row = {"ds_name": "RLHF-V", "image": embedded("cat.jpg"), "text": said, "origin_dataset": "VQAv2", "origin_split": "train", "idx": 1,
           "image_path": "x/cat.jpg"}  # fmt: skip
    parquet(folder / "train.parquet", [row], dict.fromkeys(row, TEXT) | {"image": Image(), "idx": Value("int64")})


def llava_rlhf(folder: Path) -> None:
    """A JSON array."""
    talk = [{"from": "human", "value": "<image>\nWhich animal?"}, {"from": "gpt", "value": ""}]
    outputs = {"output_1": {"from": "llava", "value": "A dog."}, "output_2": {"from": "llava", "value": "A cat."}}
    row = {"id": "1", "image": "cat.jpg", "conversations": talk, **outputs, "preference": 2, "hallucination": False}
    (folder / "preference.json").write_text(json.dumps([row]))


def nemo_rl(folder: Path) -> None:
    """Two completions, and three."""

    def done(rank: int, words: str) -> dict:
        return {"rank": rank, "completion": [{"role": "assistant", "content": words}]}

    context = [{"role": "user", "content": "Which?"}]
    jsonl(
        folder / "train.jsonl",
        {"context": context, "completions": [done(0, "Good."), done(1, "Bad.")], "task_name": "t"},
        {"context": context, "completions": [done(0, "a"), done(1, "b"), done(2, "c")], "task_name": "t"},
    )


def openai(folder: Path) -> None:
    """A text, a sound as `input_audio`, and a picture as Anthropic's block."""

    def row(*parts: dict) -> dict:
        asked = {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]}
        outputs = {"preferred_output": "A cat.", "non_preferred_output": "A dog."}
        return {"input": asked} | {name: [{"role": "assistant", "content": words}] for name, words in outputs.items()}

    sound, picture = (base64.b64encode(MEDIA[name]).decode() for name in ("bark.wav", "cat.jpg"))
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": picture}}
    jsonl(
        folder / "train.jsonl",
        row(),
        row({"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}),
        row(block),
    )


def argilla(folder: Path) -> None:
    row = {"source": "x", "instruction": "Why?", "chosen_response": "Because.", "rejected_response": "So."}
    jsonl(folder / "train.jsonl", row | {"chosen_avg_rating": 4.5, "rejected_avg_rating": 3.0, "chosen_model": "gpt-4"})


def pku_saferlhf(folder: Path) -> None:
    """A safe answer that is better, and an unsafe one that is."""
    row = {
        "prompt": "How?",
        "response_0": "So.",
        "response_1": "I cannot.",
        "is_response_0_safe": False,
        "is_response_1_safe": True,
    }
    jsonl(
        folder / "train.jsonl",
        row | {"better_response_id": 1, "safer_response_id": 1},
        row | {"prompt": "And how?", "better_response_id": 0, "safer_response_id": 1},
    )


def nectar(folder: Path) -> None:
    answers = [{"answer": words, "model": "m", "rank": float(rank)} for rank, words in enumerate(("a", "b", "c"), 1)]
    row = {
        "prompt": "\n\nHuman: Which?\n\nAssistant: ",
        "answers": answers,
        "turns": 1,
        "source": ["x"],
        "good_natured": True,
    }
    Dataset.from_list([row]).to_parquet(folder / "rlaif.parquet")


def helpsteer(folder: Path) -> None:
    """Two rated responses of one prompt, and a preference; a file each."""
    rated = {
        "prompt": "Why?",
        "response": "Because.",
        "correctness": 3,
        "coherence": 4,
        "complexity": 1,
        "verbosity": 1,
    }
    jsonl(folder / "train.jsonl", rated | {"helpfulness": 4}, rated | {"response": "So.", "helpfulness": 1})
    two = {"prompt": "Why so?", "response_1": "Because.", "response_2": "So.", "preference_strength": -2}
    jsonl(folder / "preference.jsonl", two)


def hh_rlhf(folder: Path) -> None:
    asked = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Why?\n\nAssistant:"
    jsonl(folder / "train.jsonl", {"chosen": f"{asked} Because.", "rejected": f"{asked} So."})


def pick_a_pic(folder: Path) -> None:
    """The Hub's Parquet: a preferred picture, and a tie."""
    row = {
        "caption": "a red cat",
        "jpg_0": MEDIA["cat.jpg"],
        "jpg_1": MEDIA["dog.png"],
        "label_0": 1.0,
        "label_1": 0.0,
        "has_label": True,
    }
    Dataset.from_list([row, row | {"label_0": 0.5, "label_1": 0.5}]).to_parquet(folder / "train.parquet")


def orpo_mix(folder: Path) -> None:
    def talk(*words: str) -> list[dict]:
        return [{"role": ("user", "assistant")[i % 2], "content": said} for i, said in enumerate(words)]

    row = {"source": "x", "prompt": "One?", "question": "One?"}
    jsonl(
        folder / "train.jsonl",
        row | {"chosen": talk("One?", "x"), "rejected": talk("One?", "y")},
        row | {"chosen": talk("One?", "a", "Two?", "x"), "rejected": talk("One?", "a", "Two?", "y")},
    )


def data_juicer(folder: Path) -> None:
    """A choice of two answers, and a conversation with its tokens; a file each."""
    row = {
        "prompt": "<__dj__image>\nWhich? <|__dj__eoc|>",
        "images": ["cat.jpg"],
        "answer1": "A dog.",
        "answer2": "A cat.",
    }
    jsonl(folder / "preference.jsonl", row | {"chosen": "A cat.", "rejected": "A dog."})
    jsonl(
        folder / "talk.jsonl",
        {"text": "<__dj__image>\n[[human]]: What?\n[[gpt]]: A cat. <|__dj__eoc|>", "images": ["cat.jpg"]},
    )


def verl(folder: Path) -> None:
    row = {
        "data_source": "geo3k", "prompt": [{"role": "user", "content": "<image>Find x."}], "images": [embedded("cat.jpg")], "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "3"}, "extra_info": {"split": "train", "index": 0},
    }  # fmt: skip
    Dataset.from_list([row]).to_parquet(folder / "train.parquet")


def verl_omni(folder: Path) -> None:
    """Parts with all keys, empty but for one, as its tools write them; and two generated pictures."""
    empty = {"type": "text", "text": None, "image": "", "video": "", "audio": ""}
    asked = [empty | {"type": "video", "video": "run.mp4"}, empty | {"text": "What?"}]
    row = {
        "data_source": "omni_preference/video", "prompt": [{"role": "user", "content": asked}], "chosen": "A cat.", "rejected": "A dog.",
        "win_score": 8.0, "lose_score": 6.0, "ability": "video_qa", "reward_model": {"style": "preference"}, "extra_info": {"index": 0},
    }  # fmt: skip
    Dataset.from_list([row]).to_parquet(folder / "train.parquet")
    pictures = {"img_win": "dog.png", "img_lose": "cat.jpg", "win_score": 0.75, "lose_score": 0.25}
    jsonl(
        folder / "pictures.jsonl",
        {"data_source": "x", "prompt": [{"role": "user", "content": "a grey dog"}]} | pictures,
    )


def omni_preference(folder: Path) -> None:
    asked = (
        "Judge.\n### Context\nVideo file: run.mp4\nQuestion: What happens?\nCandidate A: A dog.\nCandidate B: A cat."
    )
    verdict = json.dumps({"score_A": 6, "score_B": 8, "better": "B", "reasoning": "Clearer."})
    row = {"videos": ["/data/run.mp4"], "messages": [{"role": "user", "content": asked}], "solution": verdict}
    jsonl(folder / "final_rl_data.jsonl", row)


SETS = {
    f.__name__: f
    for f in (
        trl,
        llama_factory,
        ms_swift,
        rlaif_v,
        vlfeedback,
        mm_rlhf,
        mmpr,
        llava,
        ultrafeedback,
        distilabel,
        label_studio,
    )
}
"""Sets that tests/recipes has a recipe for."""
MORE = {
    f.__name__: f
    for f in (
        rlhf_v,
        llava_rlhf,
        nemo_rl,
        openai,
        argilla,
        pku_saferlhf,
        nectar,
        helpsteer,
        hh_rlhf,
        pick_a_pic,
        orpo_mix,
        data_juicer,
        verl,
        verl_omni,
        omni_preference,
    )
}
"""The other sets."""
