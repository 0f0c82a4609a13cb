"""Usage and cost of a run: usage by step and model from its records, cost by the prices of its recipe.

Records contain usage but no money, so that changing a price later also changes the cost of finished runs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.storage.answer_cache import Usage, total_usage
from schemas.recipe import Price

Usages = dict[str, dict[str, dict]]  # step -> model -> the figures of a Usage
MILLION = 1_000_000


def by_step(records: Iterable[Usages]) -> Usages:
    """The sum of several records, by step and model."""
    found: defaultdict[str, defaultdict[str, Usage]] = defaultdict(lambda: defaultdict(Usage))
    for record in records:
        for step, models in record.items():
            for model, usage in models.items():
                found[step][model].add(Usage(**usage))
    return {step: {model: usage.figures() for model, usage in models.items()} for step, models in found.items()}


def usage_of_shard(record: Mapping[str, Any]) -> Usages:
    """Usage by step from the record of a shard."""
    return {step: record["models"] for step, record in record["steps"].items()}


def by_model(usages: Usages) -> dict[str, dict]:
    """Usage by model, summed over steps."""
    names = dict.fromkeys(model for models in usages.values() for model in models)
    return {name: total_usage(models[name] for models in usages.values() if name in models).figures() for name in names}


def cost(usage: Mapping[str, Any], price: Price) -> dict[str, Any]:
    """`spent` for requests and `saved` by cache hits, in `currency`. Prices are per million tokens and per request.

    A failed request costs only its price per request: servers do not report its tokens."""
    tokens = price.prompt * usage["prompt_tokens"] + price.answer * usage["answer_tokens"]
    spared = price.prompt * usage["cached_prompt_tokens"] + price.answer * usage["cached_answer_tokens"]
    return {
        "spent": round(tokens / MILLION + price.request * usage["asked"], 6),
        "saved": round(spared / MILLION + price.request * usage["cached"], 6),
        "currency": price.currency,
    }


def priced(models: Mapping[str, dict], prices: Mapping[str, Price]) -> dict[str, dict]:
    """Usage by model, with `money` added for models with a price."""
    return {name: {**usage, **(cost(usage, prices[name]) if name in prices else {})} for name, usage in models.items()}


def add_priced(several: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict]:
    """The sum of several results of `priced`, by model."""
    found: dict[str, dict] = {}
    for models in several:
        for name, usage in models.items():
            before = found.setdefault(name, {})
            for key, value in usage.items():
                before[key] = value if key == "currency" else before.get(key, 0) + value
    return found


def total_money(priced: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """currency -> {spent, saved}, summed over everything with a price."""
    found: dict[str, dict[str, float]] = {}
    for usage in priced:
        if "currency" in usage:
            sums = found.setdefault(usage["currency"], {"spent": 0.0, "saved": 0.0})
            for key in sums:
                sums[key] = round(sums[key] + usage[key], 6)
    return found


def amount(value: float) -> str:
    """12.30; amounts below 1 with two significant digits."""
    return f"{value:,.2f}" if value >= 1 or not value else f"{value:#.2g}"


def amounts(purse: Mapping[str, Mapping[str, float]], which: str) -> str:
    """`spent` or `saved` in all currencies, as text."""
    return " + ".join(f"{amount(sums[which])} {currency}" for currency, sums in purse.items())


def compact_amount(count: float) -> str:
    """950, 12.3k, 4.1M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"
