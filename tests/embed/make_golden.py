"""Makes the golden vectors of `tests/embed/golden` with sentence-transformers, and the tiny models that go with them.

Run it in an environment of its own (`pip install sentence-transformers`), with the folder of all-MiniLM-L6-v2:
`python tests/embed/make_golden.py MODEL_FOLDER`. The tiny models have random weights: they stand for the shapes of
model that the kernels and the reader of folders have to get right, not for any meaning.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast, XLMRobertaConfig

GOLDEN = Path(__file__).parent / "golden"
TEXTS = [
    "How do I reset my password?",
    "I forgot my password, how can I set a new one?",
    "def merge(ranges: list[range]) -> list[range]: ...",
    "The quick brown fox jumps over the lazy dog.",
    "",
    " ",
    "a",
    "Ünïcödé, naïve café, ÅNGSTRÖM",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 and \u4e2d\u6587",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643",
    "emoji \U0001f469\u200d\U0001f4bb \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "line\u2028separator\u0085next\u00a0space\u200bzero",
    "control \x00 \x01 \x1b[31mred\x1b[0m \x7f \ufffd \ufeff",
    "tabs\tand\nnewlines\r\n",
    "[CLS] special [SEP] tokens [MASK] [PAD] [UNK]",
    "e\u0301 combining \u0301\u0301\u0301 marks",
    "1234567890 3.14159 -1e-9 $5.00 50%",
]
# Written as a text and how often it is repeated.
LONG = [("a", 300), ("word ", 1000), ("x", 100_000), ("\u6f22 ", 400)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "etaoinshrdlu")]
TINY_TEXTS = [
    "",
    "a",
    "hello there",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "Some WORDS? twice twice",
]


def tiny_tokenizer(folder: Path, *, lower: bool) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=24, **names)
    fast.save_pretrained(folder)
    return fast


def tiny(
    name: str, config: BertConfig | XLMRobertaConfig, pooling: tuple[str, ...], **options: object
) -> None:
    folder = GOLDEN / name
    torch.manual_seed(len(name))
    model = AutoModel.from_config(config, add_pooling_layer=False)
    for place, parameter in model.named_parameters():
        # Spread so that texts differ much: else a wrong pooling would give nearly the same vectors.
        spread = 1.0 if "embeddings" in place and parameter.dim() == 2 else parameter.shape[-1] ** -0.5
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() == 1 else spread)
        if place.endswith("LayerNorm.weight"):
            parameter.data += 1
    if options.get("half"):
        model = model.half()
    model.save_pretrained(folder)
    tiny_tokenizer(folder, lower=bool(options.get("lower", True)))
    transformer = Transformer(str(folder), model_kwargs={"dtype": torch.float32})
    modules = [transformer, Pooling(config.hidden_size, pooling_mode=pooling), Normalize()]
    prompts = {"query": "q u e r y ", "passage": ""} if options.get("prompts") else {}
    sentence = SentenceTransformer(modules=modules, device="cpu", prompts=prompts)
    vectors = np.concatenate([sentence.encode([text]) for text in TINY_TEXTS])
    others = (vectors @ vectors.T)[~np.eye(len(vectors), dtype=bool)]
    assert others.max() < 0.99, others  # far below what the tests ask for
    np.save(folder / "vectors.npy", vectors)
    if prompts:
        np.save(folder / "query.npy", sentence.encode(TINY_TEXTS, prompt_name="query"))
    weights = folder / "model.safetensors"
    before = weights.read_bytes()
    sentence.save(str(folder), create_model_card=False)
    weights.write_bytes(before)  # as they were first, in half precision or not


def main() -> None:
    minilm = SentenceTransformer(sys.argv[1], device="cpu")
    texts = [*TEXTS, *(text * times for text, times in LONG)]
    np.save(GOLDEN / "minilm.npy", np.concatenate([minilm.encode([text]) for text in texts]))
    (GOLDEN / "texts.json").write_text(
        json.dumps({"minilm": TEXTS, "long": LONG, "tiny": TINY_TEXTS}, indent=1) + "\n"
    )
    shape = {
        "vocab_size": len(WORDS), "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 96, "max_position_embeddings": 32,
    }  # fmt: skip
    tiny("bert-cls", BertConfig(**shape), ("cls",), prompts=True)
    tiny("bert-tanh-half", BertConfig(**shape, hidden_act="gelu_new"), ("mean",), half=True, lower=False)
    roberta = XLMRobertaConfig(**shape, type_vocab_size=1, pad_token_id=0, hidden_act="relu")
    tiny("xlm-roberta-several", roberta, ("max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"))


if __name__ == "__main__":
    main()
