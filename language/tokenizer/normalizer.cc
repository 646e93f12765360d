#include "language/tokenizer/normalizer.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "language/tokenizer/byte_alphabet.h"
#include "language/tokenizer/overloaded.h"
#include "language/tokenizer/unicode.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

using normalizers::UnicodeForm;

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Each character of `text` gives what `map` appends.
std::string MapCharacters(std::string_view text, bool* lost_first,
                          absl::FunctionRef<void(int32_t character, std::string* out)> map) {
  std::string out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const bool first = position == 0;
    map(NextCharacter(text, &position), &out);
    if (first && out.empty()) *lost_first = true;
  }
  return out;
}

// ICU's data are linked in: its normalisers are always there.
const icu::Normalizer2* FindNormalizer(UnicodeForm form) {
  UErrorCode error = U_ZERO_ERROR;
  switch (form) {
    case UnicodeForm::kNfc:
      return icu::Normalizer2::getNFCInstance(error);
    case UnicodeForm::kNfd:
      return icu::Normalizer2::getNFDInstance(error);
    case UnicodeForm::kNfkc:
      return icu::Normalizer2::getNFKCInstance(error);
    case UnicodeForm::kNfkd:
      return icu::Normalizer2::getNFKDInstance(error);
  }
  return nullptr;
}

std::string ToForm(std::string_view text, UnicodeForm form) {
  if (IsAscii(text)) return std::string(text);
  UErrorCode error = U_ZERO_ERROR;
  icu::UnicodeString normalized;
  FindNormalizer(form)->normalize(icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), text.size())), normalized,
                                  error);
  std::string out;
  if (U_SUCCESS(error)) normalized.toUTF8String(out);
  return U_SUCCESS(error) ? out : std::string(text);
}

void AppendLowercase(int32_t character, std::string* out) {
  AppendUtf8(u_tolower(character), out);
  if (character == 0x130) AppendUtf8(0x307, out);  // capital I with dot: the one whose lower case is two characters
}

std::string Lowercase(std::string_view text, bool* lost_first) {
  return MapCharacters(text, lost_first, AppendLowercase);
}

// BERT's table of Chinese characters, as `tokenizers` has it.
bool IsChinese(int32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

// What BERT's cleaning drops: NUL, the replacement character, and control, format and private-use characters.
bool IsDroppedByBert(int32_t c) {
  if (c == 0 || c == kReplacementCharacter) return true;
  if (c == '\t' || c == '\n' || c == '\r') return false;
  if (c < 0x80) return c < 0x20 || c == 0x7F;
  return (OldCategory(c) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK | U_GC_CS_MASK)) != 0;
}

std::string ApplyBert(std::string_view text, const normalizers::Bert& bert, bool* lost_first) {
  std::string out = MapCharacters(text, lost_first, [&](int32_t c, std::string* to) {
    if (bert.clean_text && IsDroppedByBert(c)) return;
    if (bert.clean_text && IsWhiteSpace(c)) {
      to->push_back(' ');
    } else if (bert.split_cjk && IsChinese(c)) {
      to->push_back(' ');
      AppendUtf8(c, to);
      to->push_back(' ');
    } else {
      AppendUtf8(c, to);
    }
  });
  if (bert.strip_accents && !IsAscii(out)) {
    out = MapCharacters(ToForm(out, UnicodeForm::kNfd), lost_first, [](int32_t c, std::string* to) {
      if (c < 0x80 || (OldCategory(c) & U_GC_MN_MASK) == 0) AppendUtf8(c, to);
    });
  }
  return bert.lowercase ? Lowercase(out, lost_first) : out;
}

// The table of the machine translation systems that SentencePiece was made for.
std::string ApplyNmt(std::string_view text, bool* lost_first) {
  return MapCharacters(text, lost_first, [](int32_t c, std::string* to) {
    if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) return;
    const bool space = c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
                       c == 0xFFFD;
    AppendUtf8(space ? ' ' : c, to);
  });
}

std::string_view StripSpace(std::string_view text, const normalizers::Strip& strip, bool* lost_first) {
  while (strip.left && !text.empty()) {
    size_t end = 0;
    if (!IsWhiteSpace(NextCharacter(text, &end))) break;
    text.remove_prefix(end);
    *lost_first = true;
  }
  while (strip.right && !text.empty()) {
    size_t begin = 0;
    if (!IsWhiteSpace(LastCharacter(text, &begin))) break;
    text = text.substr(0, begin);
  }
  return text;
}

std::string ReplaceAll(std::string_view text, const Regex& regex, std::string_view content, bool* lost_first) {
  std::vector<TextSpan> spans;
  regex.Split(text, &spans);
  std::string out;
  out.reserve(text.size());
  for (const TextSpan& span : spans)
    out.append(span.matched ? content : text.substr(span.begin, span.end - span.begin));
  const std::string_view first = text.substr(0, spans[0].end);
  if (spans[0].matched && !first.empty() && (content.empty() || first.size() > CharacterLength(first[0])))
    *lost_first = true;
  return out;
}

}  // namespace

absl::StatusOr<Normalizer> Normalizer::Create(const std::vector<normalizers::Step>& steps) {
  Normalizer normalizer;
  for (const normalizers::Step& step : steps) {
    if (const auto* replace = std::get_if<normalizers::Replace>(&step)) {
      absl::StatusOr<Regex> regex = Regex::Create(replace->pattern);
      if (!regex.ok()) return regex.status();
      normalizer.steps_.emplace_back(CompiledReplace{*std::move(regex), replace->content});
    } else if (const auto* precompiled = std::get_if<normalizers::Precompiled>(&step)) {
      absl::StatusOr<PrecompiledCharsmap> charsmap = PrecompiledCharsmap::Create(precompiled->charsmap);
      if (!charsmap.ok()) return charsmap.status();
      normalizer.steps_.emplace_back(*std::move(charsmap));
    } else {
      std::visit(
          [&](const auto& plain) {
            if constexpr (std::is_constructible_v<CompiledStep, decltype(plain)>) normalizer.steps_.emplace_back(plain);
          },
          step);
    }
  }
  return normalizer;
}

std::string Normalizer::Apply(std::string_view text, bool* lost_first) const {
  std::string out(text);
  for (const CompiledStep& step : steps_) {
    out = std::visit(
        Overloaded{
            [&](UnicodeForm form) { return ToForm(out, form); },
            [&](normalizers::Lowercase) { return Lowercase(out, lost_first); },
            [&](const normalizers::Strip& strip) { return std::string(StripSpace(out, strip, lost_first)); },
            [&](normalizers::StripAccents) {
              return MapCharacters(out, lost_first, [](int32_t c, std::string* to) {
                if ((U_MASK(u_charType(c)) & U_GC_M_MASK) == 0) AppendUtf8(c, to);
              });
            },
            [&](const CompiledReplace& replace) { return ReplaceAll(out, replace.regex, replace.content, lost_first); },
            [&](const normalizers::Prepend& prepend) { return out.empty() ? out : prepend.text + out; },
            [&](const normalizers::Bert& bert) { return ApplyBert(out, bert, lost_first); },
            [&](normalizers::Nmt) { return ApplyNmt(out, lost_first); },
            [&](const PrecompiledCharsmap& charsmap) { return charsmap.Apply(out); },
            [&](normalizers::ByteLevel) {
              std::string alphabet;
              AppendInByteAlphabet(out, &alphabet);
              return alphabet;
            },
        },
        step);
  }
  return out;
}

}  // namespace blazon::language
