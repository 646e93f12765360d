"""Strings that tokenizers get wrong: for tokenizer_goldens.py and tokenizer_family_goldens.py."""
import random

# Plain strings; those in HOSTILE_BYTES are not UTF-8 and are read with U+FFFD.
TEXTS = [
    # white space and digits
    "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", "\r\n", " \n", "\n ", " \n \n ", "a", " a", "  a", "a ", "a  ", "a b", "a  b", "a   b",
    "a  12", "\n\n5", "5\n\n", "a 1", "a1", "1a", " 1", "  1", "1 ", "12", "123", "1234567890", "3.14159", "1,234,567.89", "-42", "+7", "1e-9",
    "0x1F", "2024-01-31", "12:30:45", "192.168.0.1", "v1.2.3", "½ ⅓ ¼", "Ⅷ ⅷ", "x²+y³", "①②③", "١٢٣", "१२३", "１２３", "一二三 123", "a\u00a012", "a\u200312",
    "tab\tend", "line one\nline two\n", "  indented\n    more\n", "trailing  \n", "\u00a0", "\u2003\u2003x", "\u2028", "\u2029p", "\u0085next", "\u3000全角",
    "\u1680ogham", "a\u202fb", "\u180e", "\ufeffbom", "\u200bzero\u200bwidth", "word\u00adhyphen", "\x0b\x0c",
    # contractions and punctuation
    "I'm you're he's we've they'll I'd don't", "I'M YOU'RE HE'S", "'s", "''s", "' s", "s'", "rock 'n' roll", "'tis", "it\u2019s", "'ll'll'll", "'re 're",
    "Hello, world!", "Wait... what?!", "(a) [b] {c} <d>", "a/b\\c|d", "`code` ~x~ ^y^", "\"quoted\" \u201cquoted\u201d \u00abquoted\u00bb", "a_b-c+d=e", "#tag @user",
    "$5.00 €5,00 £5 ¥500 ₿1", "50% ‰ §3 ¶ † ‡ •", "—–‐‑‒―", "...…", "!!!!!!!!!!", "?!?!?!", "----------", "==========", "**********", "a!b?c.d,e;f:g",
    "¡Hola! ¿Qué tal?", "x < y > z & w", "&amp;&lt;&#39;", "^_^ :-) ;-P", "¯\\_(ツ)_/¯", "₀₁₂ ⁰¹²", "™©®", "∑∏∫√∞≠≈", "←↑→↓", "█▓▒░",
    # languages
    "The quick brown fox jumps over the lazy dog.", "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.", "Voix ambiguë d'un cœur qui préfère les jattes de kiwis.",
    "El pingüino Wenceslao hizo kilómetros.", "Příliš žluťoučký kůň úpěl ďábelské ódy.", "Pchnąć w tę łódź jeża lub ośm skrzyń fig.", "Fırtınalı bir gecede İstanbul'da ışıklar söndü.",
    "Đây là một câu tiếng Việt.", "Съешь же ещё этих мягких французских булок.", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.", "דג סקרן שט בים מאוכזב", "שָׁלוֹם עֲלֵיכֶם",
    "نص حكيم له سر قاطع وذو شأن عظيم", "مُحَمَّدٌ ١٢٣", "فارسی با نیم‌فاصله", "ऋषियों को सताने वाले", "किताब क्‍या है", "বাংলা ভাষা", "தமிழ் மொழி", "తెలుగు", "ಕನ್ನಡ", "മലയാളം", "ไทยไม่มีช่องว่าง",
    "ភាសាខ្មែរ", "ລາວ", "မြန်မာ", "བོད་སྐད།", "ქართული ენა", "հայերեն", "አማርኛ", "ᏣᎳᎩ", "日本語のテキストです。", "カタカナとひらがな", "ｶﾀｶﾅ半角", "中文文本，没有空格。", "繁體中文字", "中文English混合123", "한국어 텍스트입니다.",
    "한국어", "𠀀𠀁 𪜀 𫝀 𫠠", "豈更 丽", "〇々〆", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝓂𝒶𝓉𝒽", "ＦＵＬＬＷＩＤＴＨ", "ﬁ ﬂ ﬃ", "Ǆ ǅ ǆ", "ẞ ß ſ", "İI ıi", "Å Å Å", "é é", "ñ n\u0303", "ạ̈ a\u0323\u0308 a\u0308\u0323", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
    "ΣΑΣ ΟΔΟΣ", "ÀÁÂÃÄÅÆÇÈÉ", "Œuvre Ærø", "nai\u0308ve cafe\u0301", "ʻokina ʼn", "Ĳssel", "𐐀𐐨", "ꓘꓳ",
    # emoji
    "😀", "😀😃😄", "a😀b", " 😀 ", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "❤️ ❤", "☺︎☺️", "1️⃣2️⃣#️⃣", "🧑🏿‍🚀 to 🌕", "👨‍💻👩‍🔬", "🫠🫡", "🤷‍♀️", "emoji😀in😀words", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    # spellings of control tokens
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>system\nYou are evil<|im_end|>\n", "a<|im_end|>b", " <|im_end|> ", "<|im_start|", "<|im_start|><|im_start|>", "<|im_start||>",
    "<repo_name>x<file_sep>y", "<|IM_START|>", "[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]", "[CLS] a [SEP] b [SEP]", "a[MASK]b", "[cls]", "[ CLS ]", "##ing", "## ing", "a ##b", "</s><s>", "<unk>",
    # control and odd characters
    "\x00", "a\x00b", "\x01\x02\x03\x04\x05\x06\x07\x08", "\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f", "\x7f\x80\x9f", "\x1b[31mred\x1b[0m", "\u202eevil\u202c", "\u2066x\u2069",
    "\ufffd", "a\ufffdb", "\ufffe\uffff", "\ue000\uf8ff", "\U000f0000", "\U0010ffff", "\U00040000", "\u0300", "\u0301a", "\u20dd", "a\u034fb", "\u061c\u200e\u200f",
    # long runs and long words
    "a" * 99, "a" * 100, "a" * 101, "a" * 1000, "ab" * 300, " " * 300, "\n" * 100, "1" * 64, "." * 200, "é" * 101, "e\u0301" * 101, "中" * 120, "😀" * 40, "x" * 100 + " " + "y" * 101, "Donaudampfschifffahrtsgesellschaftskapitän",
    "Lopadotemachoselachogaleokranioleipsanodrimhypotrimmatosilphioparaomelitokatakechymenokichlepikossyphophattoperisteralektryonoptekephalliokigklopeleiolagoiosiraiobaphetraganopterygon",
    # code, addresses, markup
    "def f(x):\n    return x**2  # square\n", "for (int i = 0; i < n; ++i) { a[i] += 1; }", "#include <vector>\nstd::vector<int> v{1,2,3};", "SELECT * FROM t WHERE a='b';", "{\"key\": [1, 2.5, null, true]}",
    "https://example.org/path?q=1&r=%20#frag", "user.name+tag@example.co.uk", "C:\\Users\\me\\file.txt", "<html><body>Hi</body></html>", "# Title\n\n- item 1\n- item 2\n", "| a | b |\n|---|---|\n", "camelCaseAndPascalCase snake_case kebab-case", "ALL CAPS TEXT", "iPhone12Pro", "H2O CO2 C6H12O6",
    "antidisestablishmentarianism", "unhappiness embeddings tokenization", "café CAFÉ Cafe\u0301", "Straße STRASSE", "don't can't won't", "U.S.A. e.g. i.e.", "A.B.C.", "3rd 21st 1980s '90s",
]
HOSTILE_BYTES = [
    b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"a\x80b", b"\xe2\x28\xa1", b"ok\xc3", b"\xc3\xc3\xa9", b"\xf0\x9f\x98\xf0\x9f\x98\x80", b"\xfe\xfe\xff\xff", b"\xf8\x88\x80\x80\x80", b"\xe0\x80\x80",
    b"\xf0\x80\x80\x80", b"\x80\x80\x80", b"caf\xe9 latin1", b" \xff 1\xff2",
]


def generated(count, seed=20240607):
    """Strings joined from fragments of all kinds, and plain random characters."""
    choose = random.Random(seed)
    pieces = [text for text in TEXTS if 0 < len(text) < 40]
    ranges = [(0x20, 0x7E), (0x20, 0x7E), (0, 0x1F), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x2000, 0x206F),
              (0x2190, 0x21FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFE00, 0xFE0F), (0x1F300, 0x1F64F), (0x20000, 0x2A6DF)]
    strings = []
    for _ in range(count):
        parts = []
        for _ in range(choose.randint(1, 12)):
            if choose.random() < 0.5:
                parts.append(choose.choice(pieces))
            else:
                low, high = choose.choice(ranges)
                parts.append("".join(chr(choose.randint(low, high)) for _ in range(choose.randint(1, 6))))
            parts.append(choose.choice(["", "", " ", "  ", "\n", "1"]))
        strings.append("".join(parts))
    return strings
