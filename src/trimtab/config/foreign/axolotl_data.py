"""axolotl's `datasets:`, `test_datasets:` and what goes with them."""

from __future__ import annotations

from typing import Any

from trimtab.config.foreign.ledger import Ledger, is_null
from trimtab.config.foreign.sources import Said, Source, found_beside, set_training_data
from trimtab.config.yaml_reader import Node

_FILE_TYPES = {"json", "csv", "parquet", "text", "arrow"}
_ALPACA_COLUMNS: dict[str, dict[str, str]] = {
    "alpaca": {},
    "gpteacher": {"output": "response"},
    "alpaca_w_system": {"system": "system"},
    "alpaca_chat": {},
    "alpaca_instruct": {},
    "alpaca_chat.load_qa": {"instruction": "question", "output": "answer"},
    "alpaca_chat.load_concise": {},
    "alpaca_chat.load_camel_ai": {"instruction": "message_1", "output": "message_2"},
    "alpaca_w_system.load_open_orca": {"system": "system_prompt", "instruction": "question", "output": "response"},
    "alpaca_w_system.load_open_orca_chatml": {
        "system": "system_prompt",
        "instruction": "question",
        "output": "response",
    },
    "context_qa": {"instruction": "question", "input": "context", "output": "answer"},
}
"""Prompt styles of axolotl that have an instruction and an answer → the columns that they read."""

_OWN_END = "tokenizer_default"
_ASSISTANT = {"assistant", "gpt", "model"}
_KNOWN_ROLES = {
    "user": {"human", "user"},
    "assistant": {"gpt", "assistant", "model"},
    "system": {"system"},
    "tool": {"tool", "observation", "function"},
}
_NOT_TRAINED_MARKS = {"weight", "loss_weight", "train", "training"}
_LEFT = {
    "shards": "all rows are read",
    "shards_idx": "all rows are read",
    "preprocess_shards": "all rows are read",
    "skip": "all rows are read",
    "input_transform": "rows are taken as they are",
    "input_format": "rows are taken as they are",
    "format": "prompts are written by the chat template",
    "no_input_format": "prompts are written by the chat template",
    "system_format": "prompts are written by the chat template",
    "system_prompt": "no system message is added",
    "drop_system_message": "system messages are kept",
    "message_field_training_detail": "a message is learnt whole or not at all",
    "split_thinking": "thinking is rendered as the chat template does",
    "template_thinking_key": "thinking is rendered as the chat template does",
    "field_thinking": "thinking is rendered as the chat template does",
    "logprobs_field": "answers alone are learnt",
    "temperature": "answers alone are learnt",
    "revision": "the newest version of a Hub set is read",
    "trust_remote_code": "code that comes with data is never run",
    "roles": "roles have their usual names",
}


def translate_data(ledger: Ledger) -> None:
    """Enter the keys that say what is learnt from."""
    if ledger.has("pretraining_dataset"):
        _pretraining(ledger)
    elif ledger.has("datasets"):
        entries = _entries(ledger, "datasets")
        sources = [_source(ledger, key, entry) for key, entry in entries]
        usable = [source for source in sources if source.paths]
        if usable:
            set_training_data(ledger, "datasets", usable)
        else:
            ledger.refuse("datasets", "datasets: no entry has a path", explains="data.train")
    else:
        ledger.refuse_lacking("data.train", "datasets: missing; it lists what is learnt from (datasets: [{path: …}])")
    _validation(ledger)
    _prompts(ledger)


def _entries(ledger: Ledger, key: str) -> list[tuple[str, Node]]:
    node = ledger.keys[key]
    items = node.items if node.items is not None else [node]
    return [(f"{key}[{i}]", item) for i, item in enumerate(items)]


def _pretraining(ledger: Ledger) -> None:
    if ledger.has("datasets"):
        ledger.tell("datasets", "pretraining_dataset is given as well, and counts")
    (key, entry), *more = _entries(ledger, "pretraining_dataset")
    fields = entry.children or {}
    path = _text(fields.get("path")) or _text(entry)
    for other, node in more:
        ledger.leave(other, "axolotl pretrains on one source only; checked with the first", node=node)
    if not path:
        ledger.refuse("pretraining_dataset", "pretraining_dataset: no path in it", explains="data.train")
        return
    source = Source(key, [path], entry, format="text")
    for name, node in fields.items():
        if is_null(node) or name == "path":
            continue
        if name == "text_column":
            if _text(node) != "text":
                source.columns = {"text": str(_text(node))}
        elif name == "name":
            source.subset = Said(str(_text(node)), f"{key}.{name}", node)
        elif name == "split":
            source.split = Said(str(_text(node)), f"{key}.{name}", node)
        elif name == "data_files":
            _data_files(ledger, source, node)
        elif name == "type":
            ledger.tell(f"{key}.type", "every token of the text is learnt", node=node)
        else:
            ledger.leave(f"{key}.{name}", f"{_LEFT.get(name, 'not known here')}; checked without it", node=node)
    set_training_data(ledger, "pretraining_dataset", [source])


def _source(ledger: Ledger, key: str, entry: Node) -> Source:
    fields = {name: node for name, node in (entry.children or {}).items() if not is_null(node)}
    path = _text(fields.get("path"))
    if path is None and entry.children is None:
        path = _text(entry)
    source = Source(key, [path] if path else [], entry)
    prompt_type = fields.get("type")
    _type(ledger, source, prompt_type)
    roles: dict[str, str] = {}
    for name, node in fields.items():
        inner = f"{key}.{name}"
        if name in ("path", "type"):
            continue
        if name == "name":
            source.subset = Said(str(_text(node)), f"{key}.{name}", node)
        elif name == "split":
            source.split = Said(str(_text(node)), f"{key}.{name}", node)
        elif name == "data_files":
            _data_files(ledger, source, node)
        elif name == "ds_type":
            ledger.tell(inner, "the file's ending says so here", node=node)
        elif name == "field":
            source.columns["text"] = str(_text(node))
        elif name == "field_messages":
            source.columns["messages"] = str(_text(node))
        elif name == "field_tools":
            source.columns["tools"] = str(_text(node))
        elif name in ("message_field_role", "message_field_content"):
            roles[name.rpartition("_")[2]] = str(_text(node))
        elif name == "message_property_mappings" and node.children is not None:
            roles.update({role: str(_text(column)) for role, column in node.children.items()})
        elif name in ("chat_template", "chat_template_jinja"):
            _chat_template(ledger, inner, node)
        elif name == "conversation":
            ledger.leave(
                inner, "conversations are written by the chat template; checked with the tokenizer's", node=node
            )
        else:
            _turns(ledger, inner, name, node)
    if roles:
        _message_fields(ledger, source, roles, fields)
    return source


def _type(ledger: Ledger, source: Source, node: Node | None) -> None:
    key = f"{source.key}.type"
    if node is None:
        source.format = "tokenized"
        ledger.note(f"{source.key}: no type, which to axolotl means rows of token numbers", at=source.node)
        return
    if node.children is not None:
        _own_prompt(ledger, source, node)
        return
    written = str(_text(node))
    style = written.partition(":")[0]
    if style.startswith("chat_template") or style in ("messages", "messages.chat"):
        source.format = "messages"
        ledger.tell(key, "rendered by the chat template, as here", node=node)
    elif style.startswith("sharegpt"):
        source.format = "sharegpt"
        ledger.tell(key, "rendered by the chat template here", node=node)
    elif style in _ALPACA_COLUMNS:
        source.format = "alpaca"
        source.columns.update(_ALPACA_COLUMNS[style])
        text = (
            "another prompt: axolotl writes its own headings around instruction and input, here they are the user's "
            "turn of the chat template"
        )
        ledger.tell(key, text, node=node)
    elif style in ("completion", "pretrain"):
        source.format = "text"
        ledger.tell(key, "every token of the text is learnt", node=node)
    else:
        why = "a prompt of axolotl's own; checked with the format that the columns show, and the chat template"
        ledger.leave(key, why, node=node)


def _own_prompt(ledger: Ledger, source: Source, node: Node) -> None:
    source.format = "alpaca"
    for name, child in (node.children or {}).items():
        key = f"{source.key}.type.{name}"
        role = name.removeprefix("field_")
        if is_null(child):
            continue
        if name.startswith("field_") and role in ("system", "instruction", "input", "output"):
            source.columns[role] = str(_text(child))
            ledger.tell(key, f"the column of {role}", node=child)
        else:
            ledger.leave(key, f"{_LEFT.get(name, 'not known here')}; checked without it", node=child)


def _data_files(ledger: Ledger, source: Source, node: Node) -> None:
    files = [str(_text(item)) for item in node.items] if node.items else [str(_text(node))]
    if not source.paths or source.paths[0] in _FILE_TYPES:
        source.paths = files
    else:
        ledger.leave(
            f"{source.key}.data_files",
            f"single files of a set cannot be chosen; checked with all of {source.paths[0]}",
            node=node,
        )


def _message_fields(ledger: Ledger, source: Source, roles: dict[str, str], fields: dict[str, Node]) -> None:
    given = {"role": "role", "content": "content", **roles}
    at = next(fields[name] for name in fields if name.startswith(("message_field_", "message_property")))
    pair = (given["role"], given["content"])
    key = f"{source.key}.message_property_mappings"
    if pair == ("from", "value"):
        source.format = "sharegpt"
    elif pair != ("role", "content"):
        ledger.leave(
            key, f"messages have role and content or from and value here, not {pair[0]} and {pair[1]}", node=at
        )
    extra = [role for role in given if role not in ("role", "content")]
    if extra:
        why = "further fields of a message keep their names; checked with those"
        ledger.leave(f"{key}.{','.join(extra)}", why, node=at)
    ledger.note(f"{source.key}: the parts of a message are called {pair[0]} and {pair[1]}", at=at)


def _turns(ledger: Ledger, key: str, name: str, node: Node) -> None:
    """What of a conversation is learnt."""
    value: Any = node.python()
    if name == "roles_to_train":
        given = {str(role) for role in value} if isinstance(value, list) else {str(value)}
        if given <= _ASSISTANT:
            ledger.tell(key, "as here always", node=node)
        else:
            ledger.leave(key, "only the assistant's turns are learnt here; checked with those", node=node)
    elif name in ("train_on_eos", "train_on_eot"):
        if str(value) == "turn":
            ledger.tell(key, "as here always: the token that ends the assistant's turn is learnt", node=node)
        else:
            ledger.leave(key, "the token that ends each of the assistant's turns is learnt here", node=node)
    elif name == "message_field_training":
        if str(value) in _NOT_TRAINED_MARKS - {"training"}:
            ledger.tell(key, "read here by that name", node=node)
        else:
            ledger.leave(key, "here weight, loss_weight or train keeps a message from being learnt", node=node)
    elif name == "roles" and _are_usual(value):
        ledger.tell(key, "these names are known here", node=node)
    elif name == "trust_remote_code" and value is False:
        ledger.tell(key, "code that comes with data is never run", node=node)
    else:
        ledger.leave(key, f"{_LEFT.get(name, 'not known here')}; checked without it", node=node)


def _are_usual(roles: Any) -> bool:
    return isinstance(roles, dict) and all(
        set(map(str, spoken if isinstance(spoken, list) else [spoken])) <= _KNOWN_ROLES.get(role, set())
        for role, spoken in roles.items()
    )


def _validation(ledger: Ledger) -> None:
    share = ledger.value("val_set_size")
    if ledger.has("test_datasets"):
        files: list[str] = []
        for key, entry in _entries(ledger, "test_datasets"):
            fields = {name: node for name, node in (entry.children or {}).items() if not is_null(node)}
            path = _text(fields.get("path"))
            chosen = fields.get("data_files")
            if chosen is not None and (path is None or path in _FILE_TYPES):
                files += [str(_text(item)) for item in chosen.items or [chosen]]
            elif path:
                files.append(path)
            for name, node in fields.items():
                if name not in ("path", "data_files") or (name == "data_files" and path not in (None, *_FILE_TYPES)):
                    ledger.leave(f"{key}.{name}", "validation rows are read as the training rows are", node=node)
        files = [found_beside(ledger, file, ledger.keys["test_datasets"]) for file in dict.fromkeys(files)]
        if files:
            value = files[0] if len(files) == 1 else files
            ledger.translate("test_datasets", "data.validation", value, because="the sources that are listed there")
        else:
            ledger.refuse("test_datasets", "test_datasets: no entry has a path", explains="data.validation")
        if "val_set_size" in ledger.keys:
            ledger.tell("val_set_size", "test_datasets is given as well, and counts")
    elif "val_set_size" in ledger.keys and share is not None:
        if isinstance(share, int | float) and share >= 1:
            why = "a number of rows; a share or files are taken here, checked with data.validation: auto"
            ledger.leave("val_set_size", why)
        else:
            ledger.translate("val_set_size", "data.validation")
    else:
        ledger.default("data.validation", "none")


def _prompts(ledger: Ledger) -> None:
    for key in ("chat_template", "chat_template_jinja"):
        if ledger.has(key):
            _chat_template(ledger, key, ledger.keys[key])
    if "train_on_inputs" in ledger.keys:
        if ledger.is_on("train_on_inputs"):
            ledger.leave(
                "train_on_inputs",
                "axolotl then learns the questions too; here only answers are learnt, and target tokens and losses "
                "are those of the answers",
            )
        else:
            ledger.ignore("train_on_inputs", "only answers are learnt, as here always")


def _chat_template(ledger: Ledger, key: str, node: Node) -> None:
    template = str(_text(node))
    if key.endswith("chat_template_jinja"):
        if ledger.is_set("data.chat_template"):
            ledger.leave(key, "one data.chat_template holds for all sources here; checked with the first", node=node)
        else:
            ledger.translate(key, "data.chat_template", found_beside(ledger, template, node), node=node)
    elif template == "jinja":
        ledger.tell(key, "chat_template_jinja has the template", node=node)
    elif template == _OWN_END:
        ledger.tell(key, "the tokenizer's own, as here", node=node)
    elif template.startswith(f"{_OWN_END}_fallback"):
        ledger.tell(key, "the tokenizer's own here too; one without gets a plain template", node=node)
    else:
        why = "a template of axolotl's own; checked with the tokenizer's (data.chat_template=FILE gives another)"
        ledger.leave(key, why, node=node)


def _text(node: Node | None) -> str | None:
    return None if node is None or node.value is None else str(node.text)
