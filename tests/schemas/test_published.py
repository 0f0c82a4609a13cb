"""What others may see of a recipe."""

from schemas.published import published


def test_what_is_published_names_no_place_of_ours(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "correct horse/battery+staple")
    recipe = {
        "about": "asked at llm.example.org:8000/v1 with JUDGE_KEY, in /home/me/work",
        "models": {
            "policy": {
                "engine": "openai",
                "base_url": "https://llm.example.org:8000/v1",
                "api_key_env": "JUDGE_KEY",
                "model": "/models/big",
            }
        },
        "steps": [
            {
                "source.rows": {
                    "path": "/home/me/my data/rows.jsonl",
                    "media_root": "http://10.0.0.7/pictures/",
                    "columns": {"prompt": "~/x"},
                }
            },
            {"source.folder": {"path": "${FOLDER}", "prompt": "/think What is a/b or 1/2?"}},
            {"source.rows": {"path": "https://huggingface.co/datasets/a/b.jsonl"}},
        ],
    }
    told = published(recipe)
    assert told == {
        "about": "asked at (a server) with (a variable), in work",
        "models": {"policy": {"engine": "openai", "model": "big"}},
        "steps": [
            {"source.rows": {"path": "rows.jsonl", "media_root": "(a server)", "columns": {"prompt": "x"}}},
            {"source.folder": {"path": "(a variable)", "prompt": "/think What is a/b or 1/2?"}},
            {"source.rows": {"path": "https://huggingface.co/datasets/a/b.jsonl"}},
        ],
    }
