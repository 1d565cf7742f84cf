"""What the tokenizers of this folder are tried on, and some are trained on."""

TEXTS = [
    "", "a", " ", "  ", "   leading", "trailing   ", "\n", "\n\n", "\n\n\n",
    "Hello, world!", "The quick brown fox jumps over the lazy dog.",
    "He said: \"I don't know--perhaps...\" and left.",
    "two  spaces   three    four", "line one\nline two\n\nparagraph\r\n",
    "\ttab\tseparated\t\tvalues\n    indented code = {0: 'x'};\n",
    "0123456789 3.14159 1,000,000 0xDEADBEEF",
    "======== <|turn|>user\nHi<|turn|>bot\n",
    "<s></s><unk><0x41> &amp; <|turn|", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "https://example.org/a/b?c=d&e=f#g user@example.org",
    "CamelCaseIdentifier snake_case_identifier SCREAMING",
    "naïve café Ærøskøbing déjà vu façade",
    "cafe\u0301 decomposed, e\u0301\u0301",
    "Größe, Straße, Übermut", "El Niño está en la montaña ¿verdad?",
    "Жили-были дед да баба.", "Η γρήγορη καφετιά αλεπού",
    "这是一个测试。中文没有空格。", "吾輩は猫である。名前はまだ無い。",
    "다람쥐 헌 쳇바퀴에 타고파", "مرحبا بالعالم", "שלום עולם",
    "नमस्ते दुनिया", "สวัสดีชาวโลก",
    "👋🌍 emoji 👩‍👩‍👧‍👦 family 🏳️‍🌈 flag 🇸🇪",
    "\u0001\u0002\u001f\u007f controls \u0085\u00a0nbsp\u200bzwsp\ufeffbom",
    "\ufffd replacement \uffff \U0010ffff last", "\u2028\u2029 separators",
    "\u3000ideographic\u3000space", "ﬁ ligature Ⅷ ① ½ ™ ｆｕｌｌｗｉｄｔｈ",
    "math: ∑ x² ≤ ∫ f(x) dx → ∞", "x" * 300, "the " * 100, "ab" * 200,
    "mixed 中文 and English и русский 👍 text",
    "It was the best of times, it was the worst of times, it was the age of "
    "wisdom, it was the age of foolishness,\nit was the epoch of belief",
]
