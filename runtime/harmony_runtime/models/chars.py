"""The built-in character tokenizer: one token a character, so that small models need no files.

Its vocabulary is fixed: 95 printable ASCII characters, newline, and seven marks. Any other character becomes
`<unk>`, which is counted where rows are tokenised.
"""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders
from tokenizers import models as tokenizer_models
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

ROLES = ("<system>", "<user>", "<assistant>")
MARKS = ("<pad>", "<unk>", "<bos>", "<eos>", *ROLES)
CHARACTERS = ("\n", *map(chr, range(32, 127)))

TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<' + message.role + '>' + message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def chars_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {text: number for number, text in enumerate((*MARKS, *CHARACTERS))}
    tokenizer = Tokenizer(tokenizer_models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens=list(ROLES),
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )
