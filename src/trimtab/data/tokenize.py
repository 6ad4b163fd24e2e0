"""A tokenizer as the data stage needs it: text in, ids out, and which tokens hold which characters."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import DataError

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class TokenRange:
    """Tokens [start, end), the first of which begins at character `first_char`: before the characters that were asked
    for if it straddles their start."""

    start: int
    end: int
    first_char: int


class Tokenized:
    """One text's ids, with a map from characters to tokens (through offsets)."""

    __slots__ = ("_encoding", "_text", "input_ids")

    def __init__(self, text: str, encoding: Any) -> None:
        self._text = text
        self._encoding = encoding
        self.input_ids: Ids = np.array(encoding.ids, dtype=np.int32)

    def range_of(self, start: int, end: int) -> TokenRange:
        """The tokens that hold any of the characters [start, end). A token that also holds the character
        before is among them."""
        first = next((t for c in range(start, end) if (t := self._encoding.char_to_token(c)) is not None), None)
        last = next(
            (t for c in range(end - 1, start - 1, -1) if (t := self._encoding.char_to_token(c)) is not None), None
        )
        if first is None or last is None:
            return TokenRange(0, 0, start)
        stop = last + 1
        while (
            stop < len(self.input_ids)
            and (chars := self._encoding.token_to_chars(stop)) is not None
            and chars[0] < end
            and chars[1] > chars[0]
        ):
            stop += 1  # the further bytes of one character
        return TokenRange(first, stop, min(start, self._encoding.token_to_chars(first)[0]))


class TokenizedByPrefix:
    """The same map for a tokenizer without offsets: the ids of the text up to a border are compared with
    those of the whole."""

    __slots__ = ("_encode", "_text", "input_ids")

    def __init__(self, text: str, encode: Any) -> None:
        self._text = text
        self._encode = encode
        self.input_ids: Ids = np.array(encode(text), dtype=np.int32)

    def range_of(self, start: int, end: int) -> TokenRange:
        first, is_clean = self._border(start)
        last, ends_clean = self._border(end)
        first_char = start
        while not is_clean and first_char > 0:  # back to where the straddling token begins
            first_char -= 1
            before, is_clean = self._border(first_char)
            is_clean = is_clean and before <= first
        return TokenRange(first, last if ends_clean else last + 1, first_char)

    def _border(self, char: int) -> tuple[int, bool]:
        if char >= len(self._text):
            return len(self.input_ids), True
        part = np.array(self._encode(self._text[:char]), dtype=np.int32)
        common = min(len(part), len(self.input_ids))
        differ = np.flatnonzero(part[:common] != self.input_ids[:common])
        same = int(differ[0]) if len(differ) else common
        return same, same == len(part)


class TextTokenizer:
    """One tokenizer, asked in batches. Special tokens are added by us alone, never twice."""

    def __init__(self, tokenizer: Any) -> None:
        self._slow = None if getattr(tokenizer, "is_fast", False) else tokenizer
        self._backend = None if self._slow is not None else _clean_backend(tokenizer)
        self.added_texts: frozenset[str] = _added_texts(tokenizer)
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_id: int | None = tokenizer.eos_token_id
        self.unk_id: int | None = tokenizer.unk_token_id
        self.special_ids = frozenset(int(i) for i in getattr(tokenizer, "added_tokens_decoder", {})) | frozenset(
            tokenizer.all_special_ids
        )
        self.prefix_ids, self.suffix_ids = _edges(tokenizer)

    @property
    def starts_with_bos(self) -> bool:
        """The tokenizer puts its BOS before plain text."""
        return self.bos_id is not None and self.bos_id in self.prefix_ids

    def encode(self, texts: Sequence[str]) -> list[Tokenized | TokenizedByPrefix]:
        """Ids of each text as it stands; nothing is added."""
        if self._backend is not None:
            encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
            return [Tokenized(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]
        return [TokenizedByPrefix(text, self._encode_slow) for text in texts]

    def _encode_slow(self, text: str) -> list[int]:
        assert self._slow is not None
        return list(self._slow.encode(text, add_special_tokens=False))

    def decode(self, ids: Ids | Sequence[int]) -> str:
        """Text of the ids, special tokens shown."""
        ids = [int(i) for i in ids]
        if self._backend is not None:
            return str(self._backend.decode(ids, skip_special_tokens=False))
        assert self._slow is not None
        return str(self._slow.decode(ids, skip_special_tokens=False))

    def survives(self, ids: Ids, text: str) -> bool:
        """The ids decode to the text, white space and Unicode normal form aside; vacuous where a token is
        unknown."""
        if self.unk_id is not None and self.unk_id in ids and self.unk_id != self.eos_id:
            return True
        return _bare(self.decode(ids)) == _bare(text)


def _bare(text: str) -> str:
    """What every tokenizer keeps: no white space (nor SentencePiece's sign for it), no control or format characters."""
    return (
        "".join(filter(str.isprintable, unicodedata.normalize("NFKC", text)))
        .replace(" ", "")
        .replace("▁", "")
        .casefold()
    )


def _clean_backend(tokenizer: Any) -> Any:
    from tokenizers import Tokenizer

    backend = tokenizer.backend_tokenizer
    if backend.truncation is None and backend.padding is None:
        return backend
    backend = Tokenizer.from_str(backend.to_str())  # a copy: the user's own keeps its settings
    backend.no_truncation()
    backend.no_padding()
    return backend


def _added_texts(tokenizer: Any) -> frozenset[str]:
    """Texts that are one added token: control tokens, and whatever else was added as a whole."""
    added = {str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values()}
    return frozenset(text for text in added | set(tokenizer.all_special_tokens) if text.strip())


def _edges(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer itself puts before and after plain text."""
    bare = list(tokenizer.encode("a", add_special_tokens=False))
    full = list(tokenizer.encode("a", add_special_tokens=True))
    if not bare:
        raise DataError("The tokenizer gives no token for the text 'a': its files are damaged or incomplete.")
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    return [], []


def tokenizer_hash(tokenizer: Any) -> str:
    """Equal only for tokenizers that give the same ids: model, normaliser, added tokens, special tokens."""
    digest = hashlib.blake2b(digest_size=16)
    if getattr(tokenizer, "is_fast", False):
        digest.update(tokenizer.backend_tokenizer.to_str().encode())
    else:
        digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
        digest.update(repr(sorted(map(repr, tokenizer.init_kwargs.items()))).encode())
    special = {k: str(v) for k, v in tokenizer.special_tokens_map.items()}
    digest.update(json.dumps([type(tokenizer).__name__, sorted(special.items()), _edges(tokenizer)]).encode())
    return digest.hexdigest()
