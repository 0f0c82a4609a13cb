from pathlib import Path

from pipeline.modeling.token_count import Counter
from schemas.messages import assistant, user
from schemas.records import Part
from schemas.requests import Generate

TINY = Path(__file__).parents[3] / "data" / "models" / "tiny"
PROMPTS = [
    (user("what is red ?"),),
    (user("what is red ?"), assistant("the circle")),
    (user(Part("text", "look"), Part("text", "what is red ?")),),
]


def test_prompts_have_as_many_tokens_as_the_engine_counts(vllm_engine, runner):
    counter = Counter(TINY)
    for prompt in PROMPTS:
        found = runner.run(vllm_engine.ask(Generate(prompt, max_tokens=1)))
        assert counter.prompt(prompt) == found.prompt_tokens


def test_a_picture_counts_as_its_place():
    counter = Counter(TINY)
    picture = (user(Part("image", media="0" * 64), Part("text", "what is red ?")),)
    # <|vision_bos|> <|IMAGE|> <|vision_eos|> before the words
    assert counter.prompt(picture) == counter.prompt(PROMPTS[0]) + 3
    assert counter.how == "its own tokenizer"


def test_without_a_tokenizer_four_characters_are_a_token_and_a_turn_has_four_more(tmp_path):
    for counter in (Counter(None), Counter(tmp_path)):
        assert counter.prompt((user("a" * 9),)) == 3 + 4  # 9 / 4, rounded up
        assert counter.how == "4 characters per token"


def test_a_template_that_wants_more_than_a_chat_is_done_without(tmp_path):
    (tmp_path / "tokenizer.json").write_text((TINY / "tokenizer.json").read_text())
    (tmp_path / "chat_template.jinja").write_text("{{ tools.names() }}")
    counter = Counter(tmp_path)
    assert counter.prompt(PROMPTS[0]) == Counter(TINY).text("what is red ?") + 4
