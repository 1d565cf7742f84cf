"""Random texts for the comparison of tokenizers: every kind of neighbourhood, seeded."""
import random

# Blocks whose characters are all older than Unicode 14, which the libraries know alike.
BLOCKS = [(0x20, 0x7E), (0xA1, 0x17F), (0x180, 0x24F), (0x250, 0x2AF), (0x370, 0x377), (0x384, 0x386),
          (0x38E, 0x3A1), (0x400, 0x4FF), (0x531, 0x556), (0x5D0, 0x5EA), (0x620, 0x64A), (0x660, 0x669),
          (0x905, 0x939), (0x966, 0x96F), (0x995, 0x9A8), (0xB85, 0xB8A), (0xE01, 0xE3A), (0xE40, 0xE4F),
          (0x10A0, 0x10C5), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x1F00, 0x1F15), (0x2010, 0x2027),
          (0x2030, 0x205E), (0x2070, 0x2071), (0x2074, 0x208E), (0x2100, 0x218B), (0x2190, 0x23FF),
          (0x2460, 0x24FF), (0x2500, 0x27BF), (0x3001, 0x303F), (0x3041, 0x3096), (0x3099, 0x30FF),
          (0x4E00, 0x9FA5), (0xA000, 0xA48C), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFA6D),
          (0xFB00, 0xFB06), (0xFE00, 0xFE0F), (0xFF01, 0xFFBE), (0x10330, 0x1034A), (0x1D400, 0x1D454),
          (0x1F300, 0x1F64F), (0x1F680, 0x1F6C5), (0x20000, 0x2A6D6), (0xE0100, 0xE01EF)]
MARKS = [(0x300, 0x36F), (0x483, 0x487), (0x591, 0x5BD), (0x64B, 0x655), (0x93C, 0x93C), (0x94D, 0x94D),
         (0x9BE, 0x9BE), (0x1161, 0x1175), (0x11A8, 0x11C2), (0x20D0, 0x20DC), (0x3099, 0x309A)]
SPACES = [" ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", "\r", "\v", "\f", "\x85", "\xa0", "\u1680", "\u180e",
          "\u2003", "\u2009", "\u200a", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "'Ll", "'\u017f", "\u2019s", "''", "'",
                " 's", "'x", "n't", "'sly"]
WORDS = ["the", " the", "The", " and", "ing", "Hello", " unreachable", "word", "words", "swords", "wörd!", "é",
         "hello world", "naïve", "Größe", "Жили", "世界", "中文", "다람쥐", "مرحبا", "ไทย", "नमस्ते", "İstanbul", "ǅ",
         "ﬁ", "Å", "A\u030a", "e\u0301", "\u1100\u1161\u11a8", "cafe\u0301", "café", "x"]
MARKUP = ["<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "<|",
          "|>", "<", "<mask>", "<end>", "<both>", "<a", "<a>", "<a><b>", "<a><b", "<mas", "</s>", "<s>", "<0x41>",
          "<|turn|>", "==="]
EMOJI = ["😀", "👩\u200d👩\u200d👧", "🏳️\u200d🌈", "🇸🇪", "👍🏽", "☺️", "✂", "\U0001f9d1"]
PUNCTUATION = ["!", "...", "?!", "--", "—", "«", "，", "。", "{}", "()", "://", "#$%", "\\", "_", "__", "…", "''\"", "\x00",
               "\x01", "\x1f", "\x7f", "\u00ad", "\ufffd", "\uffff", "\U0010ffff", "\u2581"]


def _character(generator, blocks):
    low, high = generator.choice(blocks)
    return chr(generator.randint(low, high))


def _part(generator):
    kind = generator.randrange(11)
    if kind == 0:
        return generator.choice(SPACES) * generator.choice((1, 1, 2, 5))
    if kind == 1:
        return generator.choice(CONTRACTIONS)
    if kind == 2:
        return str(generator.randrange(10 ** generator.randrange(1, 12)))
    if kind == 3:
        return generator.choice(MARKUP)
    if kind == 4:
        return generator.choice(EMOJI)
    if kind == 5:
        return generator.choice(PUNCTUATION) * generator.choice((1, 1, 3))
    if kind == 6:
        return "".join(_character(generator, MARKS) for _ in range(generator.randint(1, 4)))
    if kind == 7:
        block = [generator.choice(BLOCKS)]
        return "".join(_character(generator, block) for _ in range(generator.randint(1, 6)))
    if kind == 8:
        return _character(generator, BLOCKS)
    return generator.choice(WORDS)


def fuzz_texts(seed, count):
    """`count` texts of up to some 40 parts."""
    generator = random.Random(seed)
    return ["".join(_part(generator) for _ in range(generator.choice((1, 2, 3, 5, 8, 40))))
            for _ in range(count)]


def fuzz_bytes(seed, count):
    """`count` byte strings: texts with bytes cut out, overwritten and put in."""
    generator = random.Random(seed)
    broken = []
    for text in fuzz_texts(seed + 1, count):
        data = bytearray(text.encode())
        for _ in range(generator.randint(1, 4)):
            at = generator.randint(0, len(data))
            data[at:at + generator.randrange(3)] = generator.randbytes(generator.randrange(3))
        broken.append(bytes(data))
    return broken
