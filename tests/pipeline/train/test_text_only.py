"""Models that read only text, of any architecture, with their tokenizers."""

import asyncio
import json
import random
from functools import partial

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    MambaConfig,
)

from pipeline.dataset.write import write
from pipeline.engines import hf
from pipeline.modeling.encode import Encoder
from pipeline.modeling.load import adapt, load
from pipeline.modeling.logps import token_logps
from pipeline.modeling.sampling import sample
from pipeline.modeling.trainable import WRITERS, look
from pipeline.storage.media_store import FolderStore
from pipeline.train import dpo, grpo
from pipeline.train._checks import shares_prefix
from schemas import messages, records
from schemas.errors import RowError, TrainError
from schemas.operator import Context
from schemas.records import Message, Part, Reason
from schemas.requests import Attend, Beams, Embed, Failure, Generate, Likelihood, Perturb, Score
from tests.pipeline.train.test_logps import both
from tests.support import small_run
from tests.support.text_model import SMALL, WORDS, make

SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(count))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("models") / "text")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(samples, dataset's folder, media store) of twelve text pairs."""
    root, rng = tmp_path_factory.mktemp("run"), random.Random(0)
    samples = [records.sample((messages.user(words(rng, 5)),), step="rows") for _ in range(12)]
    candidates = [
        records.candidate(row.id, "rows", words(rng, rng.randint(3, 9)), index=index)
        for row in samples
        for index in range(2)
    ]
    pairs = [
        records.pair(row.id, "rows", chosen, rejected, margin=1.0)
        for row, chosen, rejected in zip(samples, candidates[::2], candidates[1::2], strict=True)
    ]
    tables = small_run.ListTables({"samples": samples, "candidates": candidates, "pairs": pairs})
    media = FolderStore(root / "media")
    write(tables, media, root / "dataset", {"recipe": "text"})
    return tables, root / "dataset", media


@pytest.fixture
def context(run, folder, tmp_path):
    return partial(Context, "train", "v", run[2], models={"policy": str(folder)}, folder=tmp_path / "model")


@pytest.fixture
def model(folder):
    return load(str(folder))


@pytest.mark.parametrize("lora", [0, 4])
def test_dpo_trains_it_and_leaves_a_model_that_transformers_loads(run, folder, context, lora):
    tables, dataset, _ = run
    settings = dpo.Settings(model="policy", beta=1, lr=1e-2, warmup=1, epochs=6, batch_size=6, lora=lora)
    its = context(dataset=dataset)
    result = dpo.train(tables, settings, its)
    assert (result["pairs"], result["steps"], result["rejections"]) == (12, 12, [])
    assert result["loss"] < 0.6  # ln 2 before
    assert result["checks"]["sees_media"] == {}
    trained, was = (AutoModelForCausalLM.from_pretrained(place) for place in (its.folder, folder))
    assert trained.state_dict().keys() == was.state_dict().keys()
    assert not torch.equal(trained.model.layers[0].mlp.up_proj.weight, was.model.layers[0].mlp.up_proj.weight)
    assert {path.name for path in its.folder.iterdir()} == {path.name for path in folder.iterdir()} | {"metrics.jsonl"}


def test_grpo_trains_it_on_its_own_answers(run, context):
    def short(row, texts):
        return [-float(len(text.split())) for text in texts]

    settings = grpo.Settings(model="policy", lr=1e-2, warmup=1, steps=8, prompts=6, n=8, max_tokens=16)
    its = context(built={"rewards": [short]})
    result = grpo.train(run[0], settings, its)
    assert result["samples"] == 12
    assert len((its.folder / "metrics.jsonl").read_text().splitlines()) == 8
    first, *_, last = (json.loads(line)["tokens"] for line in (its.folder / "metrics.jsonl").read_text().splitlines())
    assert last < first - 2


def test_its_log_probabilities_are_those_of_its_own_forward(folder, model):
    encoder = Encoder(str(folder))
    prompt = encoder.encode((messages.user("w1 w2 w3"),), (), "row 1")
    # <|turn|> user w1 w2 w3 <|end|> <|turn|> assistant
    assert prompt.ids == [1, 3, 7, 8, 9, 2, 1, 4]
    answer = encoder.answer("w4 w5", "row 1")
    assert answer == [10, 11, 2]
    ids = torch.tensor([prompt.ids + answer])
    with torch.no_grad():
        wanted = model(input_ids=ids).logits[0].log_softmax(-1)[7:-1].gather(1, ids[0, 8:, None])[:, 0]
    assert asyncio.run(
        asked(folder, Likelihood((messages.user("w1 w2 w3"), messages.assistant("w4 w5"))))
    ).logprobs == (pytest.approx(wanted[:-1].tolist(), abs=1e-4))


async def asked(folder, request):
    engine = await hf.connect(hf.Settings(model=str(folder)), None)
    assert engine.media == frozenset()
    try:
        return await engine.ask(request)
    finally:
        await engine.close()


def test_the_engine_answers_with_it_and_refuses_media(folder):
    question = (messages.user("w1 w2 w3"),)
    told = (*question, messages.assistant("w4 w5"))
    for request in (
        Generate(question, 2, 1.0, 4),
        Beams(question, 4, 2),
        Score(question, ("w1", "w2")),
        Embed(question),
    ):
        assert not isinstance(found := asyncio.run(asked(folder, request)), Failure), found
    shown = (messages.user(Part("image", media="a" * 64), "w1"),)
    for request in (Generate(shown, 1, 0.0, 4), Attend(told), Perturb("a" * 64, 8, 1, 2)):
        found = asyncio.run(asked(folder, request))
        assert isinstance(found, Failure), request
        assert found.reason in (Reason.UNSUPPORTED_MEDIA, Reason.ENGINE_REFUSED)


FAMILIES = {
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=4, **SMALL),
    "bloom": BloomConfig(hidden_size=32, n_layer=2, n_head=4, **SMALL),  # its decoder takes no positions
    "mamba": MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4, **SMALL),  # nor attention masks
    "gemma2": Gemma2Config(num_key_value_heads=2, head_dim=8, sliding_window=8, **SIZE, **SMALL),  # logits are capped
    "cohere": CohereConfig(num_key_value_heads=2, **SIZE, **SMALL),  # logits are scaled
}


@pytest.mark.parametrize(("name", "shares"), [*zip(FAMILIES, (True, False, False, False, True), strict=True)])
def test_every_architecture_gives_the_log_probabilities_and_gradients_of_its_own_forward(tmp_path, name, shares):
    """Also where the head is frozen, so that slopes are kept instead of logits, and where layers are computed again."""
    folder = make(tmp_path, config=FAMILIES[name])
    model, encoder, rng = load(str(folder)), Encoder(str(folder)), random.Random(1)
    prompts = [encoder.encode((messages.user(words(rng, n)),), (), "row") for n in (4, 9)]
    pairs = [Pair(prompt, tuple(encoder.answer(words(rng, n), "row") for n in (12, 5))) for prompt in prompts]
    assert shares_prefix(model, pairs)[0] is shares
    wanted = []
    for prompt, answers in pairs:
        for answer in answers:
            ids = torch.tensor([prompt.ids + answer])
            logps = model(input_ids=ids).logits[0].log_softmax(-1)[len(prompt.ids) - 1 : -1]
            wanted.append(logps.gather(1, ids[0, len(prompt.ids) :, None])[:, 0])
    sum((logps * (1 + i)).sum() for i, logps in enumerate(wanted)).backward()
    body = {
        name: w for name, w in model.named_parameters() if w.requires_grad and "emb" not in name and "wte" not in name
    }
    slopes = {name: weight.grad.clone() for name, weight in body.items()}
    for frozen in (False, True):
        model.get_output_embeddings().requires_grad_(not frozen)
        for again in (False, True):
            model.zero_grad()
            logps = token_logps(model, both(pairs, shares), again)
            for found, one in zip(logps, wanted, strict=True):
                torch.testing.assert_close(found[: len(one)], one, atol=2e-6, rtol=0)
            (logps * torch.arange(1, 5)[:, None]).sum().backward()
            for name, weight in body.items():
                torch.testing.assert_close(weight.grad, slopes[name], atol=2e-5, rtol=1e-4)


class Pair:
    """As `shares_prefix` and `both` read it."""

    kind = "text"

    def __init__(self, prompt, answers):
        self.prompt, self.answers = prompt, answers

    def __iter__(self):
        return iter((self.prompt, self.answers))

    def size(self, shared):
        return len(self.prompt.ids) + sum(map(len, self.answers))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_prompts_of_several_lengths_are_continued_as_each_alone(tmp_path, name):
    """GPT-2's positions are absolute: those of a padded prompt must not count the padding."""
    folder = make(tmp_path, config=FAMILIES.get(name))
    model, encoder, rng = load(str(folder)), Encoder(str(folder)), random.Random(1)
    prompts = [encoder.encode((messages.user(words(rng, n)),), (), "row") for n in (2, 7, 12)]
    asked = partial(sample, model, n=1, temperature=0, max_tokens=6, stops=encoder.stops, banned=encoder.banned)
    assert asked(prompts) == [asked([prompt])[0] for prompt in prompts]


def test_rows_with_media_are_refused_before_a_model_is_loaded(folder, context, tmp_path, monkeypatch):
    media = FolderStore(tmp_path / "media")
    write(small_run.make(media, 4), media, tmp_path / "dataset", {"recipe": "small"})
    monkeypatch.setattr("pipeline.modeling.load.load", lambda source: 1 / 0)
    with pytest.raises(
        TrainError, match=r"text reads only text, but (\d+) of \1 rows show media \(.*image.*\); train a multi"
    ):
        dpo.train(None, dpo.Settings(model="policy"), context(dataset=tmp_path / "dataset"))
    tables = small_run.ListTables({"samples": [records.sample((messages.user(Part("image", media="a" * 64), "w1"),))]})
    with pytest.raises(TrainError, match=r"text reads only text, but 1 of 1 rows show media \(image\)"):
        grpo.train(tables, grpo.Settings(model="policy"), context(built={"rewards": [len]}))
    with pytest.raises(RowError, match="row 1 shows image, but the model reads only text"):
        Encoder(str(folder)).encode((messages.user("w1"),), (("image", b"x"),), "row 1")


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    place = make(tmp_path / "base", template=None)
    with pytest.raises(TrainError, match="base has no chat template; train a model that was tuned to chat"):
        look(place)
    with pytest.raises(TrainError, match="base has no chat template for a question and its answer"):
        Encoder(str(place))


def test_a_row_that_the_template_refuses_is_a_rejection(tmp_path):
    place = make(
        tmp_path, template="{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}w1"
    )
    with pytest.raises(RowError, match="row 1: the model's chat template refuses it: no system turns") as refused:
        Encoder(str(place)).encode((Message("system", (Part("text", "w1"),)), messages.user("w2")), (), "row 1")
    assert refused.value.reason == Reason.ENGINE_REFUSED


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (
            {"architectures": ["LlamaForSequenceClassification"]},
            "is a LlamaForSequenceClassification, which does not write text",
        ),
        ({"is_encoder_decoder": True}, "reads prompts by an encoder of its own"),
    ],
)
def test_what_is_no_language_model_is_named_by_its_configuration(tmp_path, changed, named):
    place = make(tmp_path)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | changed))
    with pytest.raises(TrainError, match=named):
        look(place)


def test_a_model_whose_files_lack_weights_is_refused(tmp_path):
    place = make(tmp_path)
    AutoModel.from_pretrained(place).save_pretrained(place)  # without its head
    with pytest.raises(TrainError, match=r"lacks 1 weights of LlamaForCausalLM, for example lm_head.weight"):
        load(str(place))


def test_the_classes_that_write_text_are_known_by_their_names():
    from transformers.models.auto import modeling_auto as auto

    def names(*mappings):
        return {n for m in mappings for v in dict(m).values() for n in ([v] if isinstance(v, str) else v)}

    writers = names(auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES, auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    # a protein's model, one that diffuses, and one with an encoder; BERT as a decoder is not tuned to chat
    left = {
        "EvollaForProteinText2Text",
        "DiffusionGemmaForBlockDiffusion",
        "VisionEncoderDecoderModel",
        "BertGenerationDecoder",
    }
    assert {name for name in writers if not name.endswith(WRITERS)} == left
    rated = names(
        auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES
    )
    assert not [name for name in rated if name.endswith(WRITERS)]


def test_adapters_are_put_on_the_layers_of_gpt2_too(tmp_path):
    adapted = adapt(load(str(make(tmp_path, config=FAMILIES["gpt2"]))), 2)
    names = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert any("c_attn.lora_A" in name for name in names)
    assert all("lora" in name for name in names)
