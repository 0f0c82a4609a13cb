"""Special tokens of open model families: what is escaped in data for a server whose tokenizer is not available.

In a token, `{n}` is a number, `{word}` a word and `{words}` up to eight words, without angle brackets or bars. The table contains what
tokenizers mark as special, and what chat templates write around turns and media. What models write themselves (<think>, <tool_call>,
<answer>) is not listed."""

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

GUARD = "\u2060"  # word joiner: invisible, in no special token, and not removed by any tokenizer's normalizer
WORD = rf"[^|｜<>\s{GUARD}]{{1,80}}"
PLACEHOLDERS = {"{n}": r"\d{1,8}", "{word}": WORD, "{words}": rf"{WORD}(?: {WORD}){{0,7}}"}
BRACKETS = ("<", "[")  # nearly every special token contains one of these


class Specials(NamedTuple):
    """Special tokens in the form needed by `schemas.messages.escape`."""

    pattern: re.Pattern
    signs: tuple[str, ...]  # every token contains one of these characters or texts: a cheap check before the pattern


NOTHING = Specials(re.compile("(?!)"), ())


class Family(NamedTuple):
    models: str  # a regular expression for model names in lower case
    tokens: tuple[str, ...]


BARS = "<|{words}|>"  # Qwen, Llama 3, Phi, GLM and most others; in every family, as ordinary text does not contain it
LLAMA_2 = "<s> </s> <unk> <pad> <mask> [INST] [/INST] <<SYS>> <</SYS>>"
CHATML = "<img> </img> <ref> </ref> <box> </box> <quad> </quad> <imgpad> <image> <video> <audio> </audio>"
CODE = """<fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <fim-prefix> <fim-middle> <fim-suffix> <fim-pad> <fim-repo> <REPO> <repo_name> <reponame>
    <file_sep> <filename> <gh_stars> <issue_start> <issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code>
    <jupyter_output> <jupyter_script> <empty_output>
    <commit_before> <commit_msg> <commit_after>"""
PATCHES = "<image> </image> <video> </video> <audio> <im_start> <im_end> <im_patch> <vid_start> <vid_end> <vid_patch> <image_placeholder>"


def _tokens(*texts: str) -> tuple[str, ...]:
    return tuple(" ".join(texts).split())


def _family(models: str, *tokens: str) -> Family:
    return Family(models, (BARS, *_tokens(*tokens)))


FAMILIES = {
    "aria": _family("aria", CHATML, CODE, "<s> </s> <unk> <pad>"),
    "baichuan": _family("baichuan", LLAMA_2, "<reserved_{n}> <img> </img> <audio_start_baichuan> <img_start_baichuan> <img_end_baichuan>"),
    "chameleon": _family("chameleon|anole", "<s> </s> <unk> <pad> <image> <reserved{n}> <eoss> <racm3:break>"),
    "cogvlm": _family("cogvlm|cogagent", LLAMA_2, "<EOI> [IMG] <image>"),
    "cohere": _family(r"cohere|command|(?<![a-z])aya|c4ai", "<PAD> <UNK> <CLS> <SEP> <MASK_TOKEN> <BOS_TOKEN> <EOS_TOKEN> <EOP_TOKEN> <image> <s> </s>"),
    "deepseek": _family("deepseek|janus", """<｜{words}｜> ｜DSML｜ <image> <image_placeholder> <patch_placeholder> <begin_of_image> <end_of_image> <pad>
        <s> </s>"""),
    "ernie": _family("ernie|paddleocr", "<s> </s> <unk> <pad> <mask:{n}> <mask> <sep> <cls>"),
    "exaone": _family("exaone", "[|{word}|] [BOS] [EOS] [PAD] [UNK] [SEP]", CODE),
    "falcon": _family("falcon", """>>TITLE<< >>ABSTRACT<< >>INTRODUCTION<< >>SUMMARY<< >>COMMENT<< >>ANSWER<< >>QUESTION<< >>DOMAIN<< >>PREFIX<<
        >>SUFFIX<< >>MIDDLE<< >>UNUSED_{n}<< <image> <s> </s> <pad>"""),
    "florence": _family("florence", "<s> </s> <pad> <unk> <mask> <loc_{n}> <od> </od> <ocr> </ocr> <cap> </cap> <ncap> </ncap> <dcap> </dcap> <sep>"),
    "gemma": _family("gemma|gemini", """<bos> <eos> <pad> <unk> <mask> <start_of_turn> <end_of_turn> <start_of_image> <end_of_image> <image_soft_token>
        <start_of_audio> <end_of_audio> <audio_soft_token> <start_of_video> <end_of_video> <unused{n}> <2mass> [@BOS@] [multimodal] <image> <loc{n}>
        <seg{n}> <start_function_call> <end_function_call> <start_function_declaration> <end_function_declaration> <start_function_response>
        <end_function_response> <escape> <|{word}> <{word}|>"""),
    "glm": _family("glm", "[MASK] [gMASK] [sMASK] <sop> <eop> <eod> <unk> <pad> <s> </s> <image> /nothink"),
    "gpt-oss": _family("gpt-oss|harmony"),
    "granite": _family("granite|docling", CODE, """<image> <loc_{n}> <end_of_utterance> <fake_token_around_image> <global-img> <row_{n}_col_{n}> <doctag>
        </doctag>"""),
    "hunyuan": _family("hunyuan|hy-", "<｜{words}｜> <pad> <s> </s> <img> </img>"),
    "idefics": _family("idefics|smolvlm|smollm", LLAMA_2, CODE, """<end_of_utterance> <fake_token_around_image> <image> <row_{n}_col_{n}> <global-img>
        <video> <audio> <end_of_turn>"""),
    "internvl": _family("intern", LLAMA_2, CHATML, "<IMG_CONTEXT> <VIDEO_CONTEXT> [UNUSED_TOKEN_{n}] <IMG_{n}> <TS_CONTEXT>"),
    "kimi": _family("kimi|moonlight|moonshot", "[BOS] [EOS] [EOT] [PAD] [UNK] [start_header_id] [end_header_id] [extra_id_{n}]"),
    "kosmos": _family("kosmos", """<s> </s> <unk> <pad> <image> </image> <grounding> <phrase> </phrase> <object> </object> <patch_index_{n}>
        </delimiter_of_multi_objects/>"""),
    "llama": _family("llama|vicuna|alpaca", LLAMA_2, "<PRE> <SUF> <MID> <EOT> <FILL_ME> <image>"),
    "llava": _family("llava|bunny|cambrian|vila(?![a-z])", LLAMA_2, PATCHES, "<image_newline> <image-placeholder> <vila/sentinel> <vila/image> <vila/video>"),
    "minicpm": _family("minicpm", """<image> </image> <image_id> </image_id> <slice> </slice> <unit> </unit> <video> </video> <audio> </audio> <asr> </asr>
        <query> </query> <ref> </ref> <box> </box> <quad> </quad> <point> </point> <s> </s> <unk> <pad> <AI> <用户> <reserved_{n}>"""),
    "minimax": _family("minimax", "]<]{words}[>[ ]~b] ]~!b[ [e~[ ]!p~[ ]!d~[ <fim_prefix> <fim_middle> <fim_suffix> <fim_pad>"),
    "mistral": _family("stral|mixtral|pixtral", LLAMA_2, """[IMG] [IMG_BREAK] [IMG_END] [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS]
        [/TOOL_RESULTS] [TOOL_CONTENT] [/TOOL_CONTENT] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [PREFIX] [MIDDLE] [SUFFIX] [ARGS] [CALL_ID] [THINK] [/THINK]
        [AUDIO] [BEGIN_AUDIO] [TRANSCRIBE] [STREAMING_PAD] [STREAMING_WORD] [REPEAT_AUDIO_TEXT] [NEXT_AUDIO_TEXT] [OUTPUT_AUDIO] [MODEL_SETTINGS]
        [/MODEL_SETTINGS] [control_{n}] <SPECIAL_{n}> <image>"""),
    "molmo": _family("molmo", PATCHES, "<im_col> <im_low> <low_res_im_start> <frame_start> <frame_end> |<EXTRA_TOKENS_{n}>|"),
    "nemotron": _family("nemotron|nvlm|eagle", LLAMA_2, CHATML, """<SPECIAL_{n}> <extra_id_{n}> [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_CALLS]
        [TOOL_RESULTS] [/TOOL_RESULTS] <so_embedding> <so_start> <so_end> <IMG_CONTEXT>"""),
    "olmo": _family("olmo|dolma|tulu", "|||IP_ADDRESS||| |||PHONE_NUMBER||| |||EMAIL_ADDRESS|||"),
    "phi": _family(r"(?<![a-z])phi", "<s> </s> <unk> <pad>"),
    "qwen": _family("qwen|qwq|qvq|ovis", CHATML, "<tts_pad> <tts_text_bos> <tts_text_eod> <tts_text_bos_single>"),
    "reka": _family("reka", "<sep> <image> </image> <video> </video> <audio> </audio> <REKA_IMG_TOKEN>"),
    "seed": _family(r"(?<![a-z])seed", "<seed:{word}> </seed:{word}> <image>"),
    "t5": _family("t5|ul2", "<pad> <unk> </s> <extra_id_{n}>"),
    "ultravox": _family("ultravox", LLAMA_2),
    "whisper": _family("whisper|ovox"),
    "yi": _family(r"(?<![a-z])yi-", LLAMA_2, PATCHES, CODE),
}  # fmt: skip
# not specific to one family
OTHERS = _tokens("""[CLS] [SEP] [PAD] [PAD{n}] [UNK] [BOS] [EOS] [MASK] <cls> <sep> <pad> <bos> <eos> <eot> <eom> <eoh> <eoa> <eoc> <bos_token>
    <eos_token> <image_start> <image_end> <image_pad> <image_newline> <img_start> <img_end> <video_start> <video_end> <video_pad> <audio_start> <audio_end>
    <audio_pad> <audio_bos> <audio_eos> <vision_start> <vision_end>
    <reserved_special_token_{n}> <reserved_token_{n}> <reserved_{n}> <extra_{n}> <special_{n}> <start_of_{word}> <end_of_{word}>
    <begin_of_{word}>""")


def specials(tokens: Iterable[str]) -> Specials:
    """The pattern for these tokens, which may contain placeholders."""
    tokens = set(tokens)
    bare = [token for token in sorted(tokens) if not any(bracket in token for bracket in BRACKETS)]
    rare = [next(c for c in token if not c.isalnum() and c != "]") for token in bare]
    atoms = {tuple(PLACEHOLDERS.get(a) or re.escape(a) for a in re.findall(r"\{\w+\}|.", token)) for token in tokens}
    return Specials(re.compile(_tree(atoms)), (*BRACKETS, *dict.fromkeys(rare)))


def _tree(tokens: set[tuple[str, ...]]) -> str:
    """A regular expression for tokens, given as tuples of atoms, that shares common prefixes."""
    after: dict[str, set[tuple[str, ...]]] = {}
    for token in tokens:
        after.setdefault(token[0] if token else "", set()).add(token[1:])
    branches = [first + (_tree(rest) if first else "") for first, rest in sorted(after.items(), reverse=True)]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def families_of(model: str) -> frozenset[str]:
    """The families that match a model's name, several for a model made of two; empty for an unknown name."""
    return frozenset(name for name, family in FAMILIES.items() if re.search(family.models, model.lower()))


@cache
def specials_of_families(names: frozenset[str] = frozenset()) -> Specials:
    """The special tokens of these families; of all families, and OTHERS, without a name."""
    chosen = names or FAMILIES
    tokens = {token for name in chosen for token in FAMILIES[name].tokens}
    return specials(tokens if names else tokens.union(OTHERS))
