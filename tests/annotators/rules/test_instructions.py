"""The checkable instructions of IFEval (arXiv 2311.07911), and ours: what follows each, what does not, and what could follow all of them."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from annotators.judge import rule
from annotators.rules import instructions, sandbox
from annotators.rules.instructions import KINDS, count_sentences, followed, instructions_of
from annotators.rules.language import language_of
from schemas.errors import NoVerdict, RowError
from tests.support.rows import context, rows_of

# kind -> (kwargs, an answer that follows it, one on the same subject that does not)
EXAMPLES: dict[str, tuple[dict, str, str]] = {
    "keywords:existence": ({"keywords": ["glacier", "moraine"]}, "A glacier leaves a moraine.", "A glacier leaves moraines."),
    "keywords:frequency": ({"keyword": "glacier", "frequency": 2, "relation": "at least"}, "One glacier meets another glacier.", "One glacier meets ice."),
    "keywords:forbidden_words": ({"forbidden_words": ["ice", "snow"]}, "The river is long.", "The ice is thick."),
    "keywords:letter_frequency": ({"letter": "z", "let_frequency": 3, "let_relation": "at least"}, "Zigzag puzzles.", "Puzzles here."),
    "language:response_language": ({"language": "de"}, "Der Fluss ist lang und die Stadt liegt nicht weit von dem See.", "The river is long and the town is not far from the lake."),
    "length_constraints:number_sentences": ({"num_sentences": 4, "relation": "at least"}, "It rains. It pours. Dr. Li runs. We wait.", "It rains. Dr. Li runs. We wait."),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 3}, "Rain.\n***\nSnow.\n***\nSun.", "Rain.\n***\nSnow."),
    "length_constraints:number_words": ({"num_words": 30, "relation": "at least"}, " ".join(["word"] * 30), "one two three"),
    "length_constraints:nth_paragraph_first_word": ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "later"}, "At first.\n\nLater, it rained.", "Later.\n\nIt rained."),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "Dear [name], come to [place].", "Dear [name], come."),
    "detectable_content:postscript": ({"postscript_marker": "P.P.S"}, "Come soon.\n\nP.P.S. Bring tea.", "Come soon.\n\nP.S. Bring tea."),
    "detectable_format:number_bullet_lists": ({"num_bullets": 3}, "* a\n* b\n- c", "* a\n* b"),
    "detectable_format:constrained_response": ({}, "My answer is maybe.", "Maybe."),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 2}, "A *first part* and **a second**.", "A *first part*."),
    "detectable_format:multiple_sections": ({"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1\na\nSECTION 2\nb", "SECTION 1\na"),
    "detectable_format:json_format": ({}, "```json\n{\"a\": 1}\n```", "{a: 1}"),
    "detectable_format:title": ({}, "<<On rivers>>\nThey flow.", "On rivers\nThey flow."),
    "combination:two_responses": ({}, "A river.******A lake.", "A river.******A river."),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Name two rivers."}, "Name two rivers. Rhine and Danube.", "Rhine and Danube."),
    "startend:end_checker": ({"end_phrase": "That is all I know."}, "It flows. That is all I know.", "That is all I know. It flows."),
    "startend:quotation": ({}, "\"It flows to the sea\"", "\"It flows\" to the sea"),
    "change_case:capital_word_frequency": ({"capital_frequency": 3, "capital_relation": "at least"}, "The BIG RED BOX.", "The BIG RED box."),
    "change_case:english_capital": ({}, "THE RIVER FLOWS TO THE SEA", "THE RIVER flows TO THE SEA"),
    "change_case:english_lowercase": ({}, "the river flows to the sea", "The river flows to the sea"),
    "punctuation:no_comma": ({}, "It flows and it floods.", "It flows, and it floods."),
    "detectable_format:regex": ({"regex": "River: [A-Z]\\w+"}, "River: Rhine", "The river: Rhine"),
    "detectable_format:json_schema": ({"json_schema": {"type": "object", "required": ["river"]}}, "{\"river\": \"Rhine\"}", "{\"lake\": \"Como\"}"),
    "startend:start_checker": ({"start_phrase": "Once upon a time"}, "Once upon a time it rained.", "It rained once upon a time."),
}  # fmt: skip
FIXED = (
    "", "   ", "Yes.", "No, I cannot help with that.", "42", "null", "I am an AI assistant. I am here to help you, and I will do my best.", "\"\"", "[]()",
    "The quick brown fox jumps over the lazy dog. It was a sunny day, and everybody was happy.",
)  # fmt: skip
SHORT = {  # what only forbids is followed by a reply that says nothing: it tells nothing by itself
    name for name, kind in KINDS.items() if kind.restrains
}


def follows(name: str, text: str) -> bool:
    return (
        followed(
            text, instructions_of(json.dumps({"instruction_id_list": [name], "kwargs": [EXAMPLES[name][0]]}))
        ).value
        == 1
    )


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_followed_by_its_answer_and_not_by_one_beside_it(name):
    assert follows(name, EXAMPLES[name][1])
    assert not follows(name, EXAMPLES[name][2])


@pytest.mark.parametrize("name", sorted(KINDS.keys() - SHORT))
def test_no_fixed_reply_and_no_answer_to_another_question_follows_a_kind(name):
    """The audit of a reward: what is said whatever was asked must earn nothing. Kinds that only forbid are in SHORT."""
    others = [answer for other, (_, answer, _) in EXAMPLES.items() if other != name]
    alike = {  # answers that do what another kind asks too: capitals are capital words, JSON by a schema is JSON
        "change_case:capital_word_frequency": {EXAMPLES["change_case:english_capital"][1]},
        "detectable_format:json_format": {EXAMPLES["detectable_format:json_schema"][1]},
    }
    assert [text for text in (*FIXED, *others) if follows(name, text) and text not in alike.get(name, ())] == []


@pytest.mark.parametrize("name", sorted(SHORT))
def test_what_only_forbids_is_followed_by_saying_nothing_but_not_by_an_empty_answer(name):
    assert not follows(name, "")
    assert any(follows(name, text) for text in ("yes it is.", *FIXED[2:]))


def test_the_names_are_those_of_ifeval():
    """The 25 of Table 4 and Appendix A, as google/IFEval spells them; three are ours."""
    assert len(KINDS) == 28
    assert (
        len(
            {
                name
                for name in KINDS
                if name not in ("detectable_format:regex", "detectable_format:json_schema", "startend:start_checker")
            }
        )
        == 25
    )
    assert EXAMPLES.keys() == KINDS.keys()


def test_loose_forgives_a_first_line_a_last_line_and_asterisks():
    wanted = instructions_of(
        json.dumps({"instruction_id_list": ["startend:quotation", "detectable_format:title"], "kwargs": [{}, {}]})
    )
    text = 'Sure, here it is:\n"<<Rivers>>"\nI hope this helps!'
    assert followed(text, wanted).value == 0.5  # the title, not the quotation
    assert followed(text, wanted).read == "not followed: startend:quotation"
    assert followed(text, wanted, loose=True).value == 1
    assert followed('**"<<Rivers>>"**', wanted, loose=True).value == 1


def test_a_row_as_google_ifeval_has_it_with_nulls():
    facts = json.dumps({"instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
                        "kwargs": [{"num_words": None, "relation": None}, {"num_words": 3, "relation": "at least", "language": None}]})  # fmt: skip
    rows = rows_of(["one two three", "one, two", "one"], facts=facts)
    slips = asyncio.run(rule.judge(rows, rule.Settings(), context("truth")))
    assert [(s.annotator, s.axis, s.value) for s in slips] == [
        ("rule.instructions", "truth", 0.0), ("rule.instructions", "instructions", 1.0), ("rule.instructions", "truth", -1.0),
        ("rule.instructions", "instructions", 0.0), ("rule.instructions", "truth", -1.0), ("rule.instructions", "instructions", 0.5),
    ]  # fmt: skip
    assert slips[2].raw == "not followed: punctuation:no_comma, length_constraints:number_words"
    assert rule.reward(rows.sample, ["one two three", "one"], rule.Settings(), context()) == [1.0, 0.5]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"instruction_id_list": ["keywords:existense"], "kwargs": [{}]}, "did you mean 'keywords:existence'?"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{}]}, "keywords:existence takes keywords; it is given none"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"a": 1}]}, "takes no kwargs"),
        ({"instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"num_words": "many", "relation": "at least"}]}, "num_words of length_constraints:number_words is 'many'"),
        ({"instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"num_words": 3, "relation": "around"}]}, "one of at least, at most, exactly, less than"),
        ({"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "xx"}]}, "language of language:response_language is 'xx'"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}, {}]}, "2 entries for 1 instructions"),
        ({"instruction_id_list": []}, "not a list of names"),
        ({"instruction_id_list": ["detectable_format:regex"], "kwargs": [{"regex": "("}]}, "does not compile"),
        ({"instruction_id_list": ["detectable_format:json_schema"], "kwargs": [{"json_schema": {"type": 3}}]}, "JSON Schema is not valid"),
    ],
)  # fmt: skip
def test_a_bad_rule_in_a_row_is_one_line_with_the_row_and_the_remedy(facts, said):
    rows = rows_of(["a text"], facts=json.dumps(facts), source="rows.jsonl#7")
    with pytest.raises(RowError, match=re.escape(said)) as error:
        asyncio.run(rule.judge(rows, rule.Settings(), context("truth")))
    assert error.value.detail.startswith("rows.jsonl#7: ")
    assert "correct it, or " in error.value.detail
    assert "\n" not in error.value.detail
    assert rule.reward(rows.sample, ["a text"], rule.Settings(), context()) == [0.0]


def test_an_expression_of_a_row_that_never_ends_is_one_timeout_a_row(monkeypatch):
    asked = []

    def ask(self, rule_, *given, seconds=0.5):
        asked.append(given[0])
        return real(self, rule_, *given, seconds=seconds)

    real = sandbox.Worker.ask
    monkeypatch.setattr(sandbox.Worker, "ask", ask)
    facts = json.dumps({"instruction_id_list": ["detectable_format:regex"], "kwargs": [{"regex": "(a+)+"}]})
    sandbox.worker.ask("pattern", "a", "a", seconds=60)  # it is started
    asked.clear()
    slips = asyncio.run(
        rule.judge(rows_of(["aa", "a" * 40 + "b", "aaa"], facts=facts), rule.Settings(), context("truth"))
    )
    assert [(s.outcome, s.value) for s in slips if s.axis == "truth"] == [
        ("verdict", 0.0),
        ("failed", None),
        ("failed", None),
    ]
    assert len(asked) == 2
    assert sandbox.worker.ask("pattern", "a", "a", seconds=60).value == 1


def test_no_schema_of_a_row_makes_a_request():
    with pytest.raises(RowError, match="which is not in it"):
        sandbox.worker.ask("schema", "{}", {"$ref": "http://127.0.0.1:9/schema.json"}, seconds=60)


@pytest.mark.parametrize(
    ("text", "n"),
    [("", 0), ("One.", 1), ("One. Two! Three?", 3), ("Dr. Li is 3.5 m tall, e.g. here.", 1), ("No end", 1), ("1. One\n2. Two", 2), ("Wait... what?", 2),
     ("He said \"Go.\" Then he went.", 2), ("# Title\nOne. Two.", 2), ("At 5 p.m. it rains.", 1), ("* a\n* b\n* c", 3)],
)  # fmt: skip
def test_sentences_are_counted_without_data_from_the_network(text, n):
    assert count_sentences(text) == n


SAID = {
    "en": "The river is long and it flows to the sea.", "es": "El río es largo y llega hasta el mar por la costa.", "pt": "O rio é longo e não chega ao mar, mas à cidade.",
    "fr": "Le fleuve est long et il va dans la mer.", "de": "Der Fluss ist lang und mündet in das Meer.", "it": "Il fiume è lungo e non arriva alla città di Roma.",
    "pl": "Rzeka jest długa i płynie do morza.", "vi": "Con sông này là dài và không có cá.", "fi": "Joki on pitkä ja se ei ole syvä.", "sw": "Mto huu ni mrefu na maji ya mto ni safi.",
    "ru": "Река длинная, и она не течёт в море.", "uk": "Річка довга і не тече до моря, що на півдні.", "bg": "Реката е дълга и се влива в морето.", "ar": "النهر طويل من هذا الجبل إلى البحر.",
    "fa": "این رود از کوه به دریا می رود و بلند است.", "ur": "یہ دریا پہاڑ سے سمندر میں جاتا ہے۔", "hi": "यह नदी लंबी है और समुद्र में जाती है।", "mr": "ही नदी लांब आहे आणि ती समुद्राला मिळते.",
    "ne": "यो नदी लामो छ र समुद्रमा जान्छ।", "bn": "নদীটি দীর্ঘ।", "th": "แม่น้ำยาว", "he": "הנהר ארוך.", "ko": "강은 길다.", "ja": "川は長いです。", "zh": "这条河很长。", "ta": "ஆறு நீளமானது.",
    "te": "నది పొడవైనది.", "kn": "ನದಿ ಉದ್ದವಾಗಿದೆ.", "ml": "നദി നീളമുള്ളതാണ്.", "gu": "નદી લાંબી છે.", "pa": "ਨਦੀ ਲੰਬੀ ਹੈ।",
}  # fmt: skip


@pytest.mark.parametrize("language", SAID)
def test_a_language_is_told_by_its_script_and_its_commonest_words(language):
    assert language_of(SAID[language]) == language


def test_plain_english_is_english_and_what_is_too_short_is_no_language():
    text = Path(__file__, "../../../../docs/making.md").resolve().read_text()
    plain = [s for s in re.split(r"(?<=[.])\s+", re.sub(r"[`|*#]", "", text)) if 10 <= len(s.split()) <= 30][:20]
    assert [language_of(s) for s in plain] == ["en"] * 20
    assert [
        followed(s.upper(), instructions_of(json.dumps({"instruction_id_list": ["change_case:english_capital"]}))).value
        for s in plain
    ] == [1] * 20
    assert language_of("Paris 42") is None
    assert language_of("") is None


def test_a_check_that_fails_by_its_engine_is_no_verdict():
    with pytest.raises(NoVerdict):
        sandbox.worker.ask("no such rule", "x", seconds=60)


def test_every_kind_is_in_the_docs():
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
    assert [name for name in instructions.KINDS if f"`{name.partition(':')[2]}`" not in page] == []
