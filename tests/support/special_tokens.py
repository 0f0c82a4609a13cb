"""Special tokens as the tokenizers of open models have them, by family: what `schemas/special_tokens.py` must know."""

KNOWN = {
    "aria": "<|im_start|> <|im_end|> <|img|> <fim_prefix> <s> </s>",
    "baichuan": "<reserved_106> <reserved_107> <s> </s> <unk>",
    "chameleon": "<image> <reserved08706> <racm3:break> <eoss>",
    "cogvlm": "<EOI> [IMG] <s> </s> <|begin_of_image|> <|reserved_special_token_0|>",
    "cohere": "<|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> <|USER_TOKEN|> <|CHATBOT_TOKEN|> <|SYSTEM_TOKEN|> <|START_RESPONSE|> <|IMG_PATCH|> "
    "<|START_OF_IMG|> <BOS_TOKEN> <EOP_TOKEN> <PAD> <MASK_TOKEN>",
    "deepseek": "<｜User｜> <｜Assistant｜> <｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜▁pad▁｜> <｜tool▁calls▁begin｜> <｜tool▁sep｜> <｜fim▁hole｜> "
    "<｜place▁holder▁no▁0｜> ｜DSML｜ <|EOT|> <|User|> <|Assistant|> <|ref|> <|/ref|> <|det|> <|grounding|> <image_placeholder> <begin_of_image> <image>",
    "ernie": "<|begin_of_sentence|> <|end_of_sentence|> <|IMAGE_PLACEHOLDER|> <|IMAGE_START|> <|LOC_0|> <mask:0> <mask>",
    "exaone": "[|system|] [|user|] [|assistant|] [|endofturn|] [BOS] [PAD]",
    "falcon": ">>TITLE<< >>ABSTRACT<< >>QUESTION<< >>UNUSED_12<< <|endoftext|> <|assistant|>",
    "florence": "<loc_0> <loc_999> <od> </od> <s> </s>",
    "gemma": "<bos> <eos> <pad> <unk> <mask> <start_of_turn> <end_of_turn> <start_of_image> <end_of_image> <image_soft_token> <audio_soft_token> <start_of_audio> "
    "<unused0> <unused6241> <2mass> [@BOS@] [multimodal] <loc0000> <loc1023> <seg000> <seg127> <image> <start_function_call> <|turn> <turn|> <|channel> "
    '<channel|> <|image> <image|> <|image|> <|think|> <|"|>',
    "glm": "[MASK] [gMASK] [sMASK] <sop> <eop> <|endoftext|> <|system|> <|user|> <|assistant|> <|observation|> <|begin_of_image|> <|end_of_image|> "
    "<|begin_of_video|> <|begin_of_box|> /nothink",
    "gpt-oss": "<|start|> <|end|> <|channel|> <|message|> <|constrain|> <|return|> <|call|> <|startoftext|> <|reserved_200012|>",
    "granite": "<|start_of_role|> <|end_of_role|> <|end_of_text|> <fim_prefix> <fim-prefix> <filename> <gh_stars> <image> <doctag> <loc_12>",
    "hunyuan": "<｜hy_User｜> <｜hy_begin▁of▁sentence｜> <|startoftext|> <|eos|>",
    "idefics": "<end_of_utterance> <fake_token_around_image> <image> <global-img> <row_1_col_1> <row_6_col_6> <s> </s> <|im_start|> <|im_end|> <repo_name> "
    "<file_sep> <empty_output> <jupyter_start>",
    "internvl": "<IMG_CONTEXT> <img> </img> <quad> </quad> <ref> </ref> <box> </box> <|im_start|> <|action_start|> <|plugin|> [UNUSED_TOKEN_145] <s> </s>",
    "kimi": "<|im_user|> <|im_assistant|> <|im_system|> <|im_middle|> <|im_end|> <|media_begin|> <|media_content|> <|media_end|> <|media_pad|> "
    "<|tool_calls_section_begin|> [BOS] [EOS] [EOT] [start_header_id] [PAD]",
    "kosmos": "<grounding> <phrase> </phrase> <object> <patch_index_0000> <image> </image>",
    "llama": "<s> </s> <unk> [INST] [/INST] <<SYS>> <</SYS>> <|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> "
    "<|python_tag|> <|image|> <|finetune_right_pad_id|> <|reserved_special_token_200|> <|header_start|> <|header_end|> <|eot|> <|patch|> "
    "<|tile_x_separator|> ▁<PRE> ▁<MID> <FILL_ME>",
    "llava": "<image> <video> <im_start> <im_end> <im_patch> <s> </s> <pad>",
    "minicpm": "<image> </image> <image>./</image> <image_id> </image_id> <slice> </slice> <unit> </unit> <point> </point> <box> </box> <ref> </ref> <quad> </quad> "
    "<|im_start|> <|im_end|> <|audio_start|> <|audio|> <|audio_end|> <|spk_bos|> <|tts_bos|> <|listen|> <用户> <AI> <asr> <query>",
    "minimax": "]~b] ]~!b[ [e~[ ]<]minimax[>[ ]<]image[>[",
    "mistral": "<s> </s> <unk> <pad> [INST] [/INST] [IMG] [IMG_BREAK] [IMG_END] [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] "
    "[TOOL_CONTENT] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [PREFIX] [MIDDLE] [SUFFIX] [ARGS] [CALL_ID] [THINK] [/THINK] [AUDIO] [BEGIN_AUDIO] [TRANSCRIBE] "
    "[control_555] <SPECIAL_20>",
    "molmo": "<im_start> <im_end> <im_patch> <im_col> <|image|> |<EXTRA_TOKENS_0>| <|endoftext|>",
    "nemotron": "<SPECIAL_12> <extra_id_0> [AVAILABLE_TOOLS] [/INST] <img> </img> <image> <so_embedding>",
    "olmo": "<|endoftext|> <|user|> <|assistant|> <|padding|> |||IP_ADDRESS||| |||EMAIL_ADDRESS||| |||PHONE_NUMBER|||",
    "phi": "<|user|> <|assistant|> <|system|> <|end|> <|endoftext|> <|endoftext11|> <|image_1|> <|audio_1|> <|placeholder1|> <|tool_call|> <|/tool_call|> <s> </s>",
    "qwen": "<|im_start|> <|im_end|> <|endoftext|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|> <|object_ref_start|> <|box_start|> "
    "<|quad_start|> <|AUDIO|> <|IMAGE|> <|VIDEO|> <|audio_bos|> <|audio_eos|> <|audio_start|> <|audio_pad|> <|fim_prefix|> <|repo_name|> <|extra_0|> "
    "<img> </img> <imgpad> <ref> <box> <quad> <tts_pad> <tts_text_bos> <tts_text_bos_single>",
    "reka": "<sep> <image> </image> <REKA_IMG_TOKEN> <|endoftext|>",
    "seed": "<seed:bos> <seed:eos> <seed:tool_call> </seed:tool_call>",
    "t5": "<pad> </s> <unk> <extra_id_0> <extra_id_99>",
    "ultravox": "<|audio|> <|eot_id|> <|begin_of_text|>",
    "whisper": "<|startoftranscript|> <|en|> <|transcribe|> <|notimestamps|> <|0.00|> <|startofprev|>",
    "yi": "<|startoftext|> <|endoftext|> <|im_start|> <|im_end|> <image_placeholder> <fim_prefix> <s> </s> <|unused999|> <commit_msg>",
}  # fmt: skip
TOKENS = {family: tuple(text.split()) for family, text in KNOWN.items()}
TOKENS["chameleon"] += ("<|image token|>", "<|visual token 000000|>")  # with spaces in them, as Emu3's have
TOKENS["minimax"] += ("]<]start of image[>[",)
EVERY = sorted({token for tokens in TOKENS.values() for token in tokens})
ORDINARY = (
    "a < b and c > d, or x<y>z", "[1] [2,3] [INFO] [WARN] [IMAGE] [link](https://example.org/a_b) ![alt](a.png) - [ ] todo [x] done",
    "<b>bold</b> <i>x</i> <p>one</p> <br/> <img src='a.png'> <a href=\"b\">c</a> <table><tr><td>1</td></tr></table> <div id=x> <!-- note -->",
    "std::vector<int> v; cin >> x; cout << x << y; List<Map<String, T>> a[i][j] = b[k] | c || d; F# x |> f <| y",
    "<think>first</think> <answer>second</answer> <tool_call>{}</tool_call>", "1 << 2 >> 3, <<< fenced >>>, <3 :-> |x| ~y/z", "<User> [user] <|", "|> <||> [] <>",
    "either/or, and/or, 5/8, ~10 | 20 %", "Das ist ein Bild. 这是一张图片。 これは ｜絵｜ です。", "USER: hi ASSISTANT: hello\n### Human: x",
)  # fmt: skip
