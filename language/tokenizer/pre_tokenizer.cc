#include "language/tokenizer/pre_tokenizer.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "language/tokenizer/byte_alphabet.h"
#include "language/tokenizer/overloaded.h"
#include "language/tokenizer/unicode.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

using pre_tokenizers::Behavior;
using pre_tokenizers::PrependScheme;
using Piece = PreTokenizer::Piece;

enum class CharacterClass : uint8_t { kSpace, kLetter, kNumber, kOther };

CharacterClass Classify(int32_t character) {
  static const std::array<CharacterClass, 128>& ascii = *[] {
    auto* const classes = new std::array<CharacterClass, 128>();
    for (int32_t c = 0; c < 128; ++c) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      (*classes)[c] = letter            ? CharacterClass::kLetter
                      : IsNumeric(c)    ? CharacterClass::kNumber
                      : IsWhiteSpace(c) ? CharacterClass::kSpace
                                        : CharacterClass::kOther;
    }
    return classes;
  }();
  if (character < 128) return ascii[character];
  const uint32_t category = U_MASK(u_charType(character));
  if (category & U_GC_L_MASK) return CharacterClass::kLetter;
  if (category & U_GC_N_MASK) return CharacterClass::kNumber;
  return IsWhiteSpace(character) ? CharacterClass::kSpace : CharacterClass::kOther;
}

// The end of the run of characters of class `wanted` that begins at `position`.
size_t RunEnd(std::string_view text, size_t position, CharacterClass wanted) {
  while (position < text.size()) {
    const auto byte = static_cast<unsigned char>(text[position]);
    size_t next = position + 1;
    if (Classify(byte < 0x80 ? byte : NextCharacter(text, &(next = position))) != wanted) break;
    position = next;
  }
  return position;
}

// The end of the word that begins at `begin`: a scanner for GPT-2's pattern, several times faster than a regular
// expression:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t Gpt2WordEnd(std::string_view text, size_t begin) {
  if (text[begin] == '\'') {
    for (std::string_view contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
      if (text.substr(begin).starts_with(contraction)) return begin + contraction.size();
    }
  }
  // An optional space, then a run of one class.
  const size_t run = begin + (text[begin] == ' ' ? 1 : 0);
  if (run < text.size()) {
    size_t next = run;
    const CharacterClass first = Classify(NextCharacter(text, &next));
    if (first != CharacterClass::kSpace) return RunEnd(text, next, first);
  }
  // White space; its last character is left to the word that follows.
  size_t end = begin, last = begin;
  while (end < text.size()) {
    size_t next = end;
    if (Classify(NextCharacter(text, &next)) != CharacterClass::kSpace) break;
    last = end;
    end = next;
  }
  return end == text.size() || last == begin ? end : last;
}

void AddPiece(const Piece& from, size_t begin, size_t end, std::vector<Piece>* pieces) {
  if (begin < end) pieces->push_back({from.text.substr(begin, end - begin), from.begins_text && begin == 0});
}

// Joins or drops the matched spans, the delimiters, as `behavior` says.
void AddSpans(const Piece& from, const std::vector<TextSpan>& spans, Behavior behavior, std::vector<Piece>* pieces) {
  size_t begin = 0;  // of the piece that is growing
  for (size_t i = 0; i < spans.size(); ++i) {
    const TextSpan& span = spans[i];
    const bool last = i + 1 == spans.size();
    bool ends_piece = true;  // behind this span
    switch (behavior) {
      case Behavior::kRemoved:
        if (!span.matched) AddPiece(from, span.begin, span.end, pieces);
        continue;
      case Behavior::kIsolated:
        break;
      case Behavior::kMergedWithPrevious:  // one delimiter joins what is before it; the next ones are pieces
        ends_piece = last || span.matched || !spans[i + 1].matched;
        break;
      case Behavior::kMergedWithNext:
        ends_piece = last || !span.matched || spans[i + 1].matched;
        break;
      case Behavior::kContiguous:
        ends_piece = last || span.matched != spans[i + 1].matched;
        break;
    }
    if (!ends_piece) continue;
    AddPiece(from, begin, span.end, pieces);
    begin = span.end;
  }
}

// A span for each character that `is_delimiter`, and for each run between.
void SplitAt(std::string_view text, absl::FunctionRef<bool(int32_t)> is_delimiter, std::vector<TextSpan>* spans) {
  spans->clear();
  size_t run = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    if (!is_delimiter(NextCharacter(text, &position))) continue;
    if (run < begin) spans->push_back({run, begin, false});
    spans->push_back({begin, position, true});
    run = position;
  }
  if (run < text.size()) spans->push_back({run, text.size(), false});
}

void Invert(std::vector<TextSpan>* spans) {
  for (TextSpan& span : *spans) span.matched = !span.matched;
}

// Words and runs that are neither words nor white space, as matches.
void SplitWords(std::string_view text, std::vector<TextSpan>* spans) {
  enum class Kind { kSpace, kWord, kOther };
  const auto kind = [](int32_t c) {
    return IsWordCharacter(c) ? Kind::kWord : IsWhiteSpace(c) ? Kind::kSpace : Kind::kOther;
  };
  spans->clear();
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    const Kind first = kind(NextCharacter(text, &end));
    while (end < text.size()) {
      size_t next = end;
      if (kind(NextCharacter(text, &next)) != first) break;
      end = next;
    }
    spans->push_back({begin, end, first != Kind::kSpace});
    begin = end;
  }
}

std::string ReplaceSpaces(std::string_view text, std::string_view replacement) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (const char c : text) {
    if (c == ' ') {
      out.append(replacement);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const std::vector<pre_tokenizers::Step>& steps, bool raw_bytes) {
  PreTokenizer pre_tokenizer;
  for (const pre_tokenizers::Step& step : steps) {
    if (const auto* split = std::get_if<pre_tokenizers::Split>(&step)) {
      absl::StatusOr<Regex> regex = Regex::Create(split->pattern);
      if (!regex.ok()) return regex.status();
      pre_tokenizer.steps_.emplace_back(CompiledSplit{*std::move(regex), split->behavior, split->invert});
    } else if (const auto* bytes = std::get_if<pre_tokenizers::ByteLevel>(&step)) {
      pre_tokenizer.steps_.emplace_back(
          CompiledByteLevel{bytes->add_prefix_space, bytes->use_regex, raw_bytes && &step == &steps.back()});
    } else {
      std::visit(
          [&](const auto& plain) {
            if constexpr (std::is_constructible_v<CompiledStep, decltype(plain)>)
              pre_tokenizer.steps_.emplace_back(plain);
          },
          step);
    }
  }
  return pre_tokenizer;
}

void PreTokenizer::Apply(const CompiledStep& step, const Piece& piece, Scratch* scratch) {
  std::vector<TextSpan>& spans = scratch->spans;
  std::vector<Piece>& next = scratch->next;
  const auto keep = [&](std::string&& text) -> std::string_view {
    return scratch->changed.emplace_back(std::move(text));
  };
  std::visit(Overloaded{
                 [&](const CompiledByteLevel& bytes) {
                   Piece whole = piece;
                   if (bytes.add_prefix_space && piece.text[0] != ' ') whole.text = keep(" " + std::string(piece.text));
                   const size_t first = next.size();
                   if (bytes.use_regex) {
                     for (size_t begin = 0; begin < whole.text.size();) {
                       const size_t end = Gpt2WordEnd(whole.text, begin);
                       AddPiece(whole, begin, end, &next);
                       begin = end;
                     }
                   } else {
                     next.push_back(whole);
                   }
                   for (size_t i = first; i < next.size() && !bytes.raw_bytes; ++i) {
                     std::string alphabet;
                     AppendInByteAlphabet(next[i].text, &alphabet);
                     next[i].text = keep(std::move(alphabet));
                   }
                 },
                 [&](const CompiledSplit& split) {
                   split.regex.Split(piece.text, &spans);
                   if (split.invert) Invert(&spans);
                   AddSpans(piece, spans, split.behavior, &next);
                 },
                 [&](const pre_tokenizers::Metaspace& metaspace) {
                   std::string text = ReplaceSpaces(piece.text, metaspace.replacement);
                   const bool prepend = metaspace.prepend == PrependScheme::kAlways ||
                                        (metaspace.prepend == PrependScheme::kFirst && piece.begins_text);
                   if (prepend && !text.starts_with(metaspace.replacement)) text.insert(0, metaspace.replacement);
                   const Piece whole{keep(std::move(text)), piece.begins_text};
                   if (!metaspace.split) return next.push_back(whole);
                   spans.clear();
                   for (size_t from = 0; from < whole.text.size();) {  // each replacement begins a piece
                     const size_t found = whole.text.find(metaspace.replacement, from + (from == 0 ? 0 : 1));
                     const size_t end =
                         std::min(found == 0 ? whole.text.find(metaspace.replacement, 1) : found, whole.text.size());
                     AddPiece(whole, from, end, &next);
                     from = end;
                   }
                 },
                 [&](const pre_tokenizers::Digits& digits) {
                   if (digits.individual) {
                     size_t run = 0;
                     for (size_t position = 0; position < piece.text.size();) {
                       const size_t begin = position;
                       if (!IsNumeric(NextCharacter(piece.text, &position))) continue;
                       AddPiece(piece, run, begin, &next);
                       AddPiece(piece, begin, position, &next);
                       run = position;
                     }
                     return AddPiece(piece, run, piece.text.size(), &next);
                   }
                   SplitAt(piece.text, IsNumeric, &spans);
                   AddSpans(piece, spans, Behavior::kContiguous, &next);
                 },
                 [&](pre_tokenizers::Whitespace) {
                   SplitWords(piece.text, &spans);
                   Invert(&spans);
                   AddSpans(piece, spans, Behavior::kRemoved, &next);
                 },
                 [&](pre_tokenizers::WhitespaceSplit) {
                   SplitAt(piece.text, IsWhiteSpace, &spans);
                   AddSpans(piece, spans, Behavior::kRemoved, &next);
                 },
                 [&](pre_tokenizers::Bert) {
                   const auto add_words = [&](size_t begin, size_t end) {
                     size_t word = begin;
                     for (size_t position = begin; position < end;) {
                       const size_t at = position;
                       if (!IsPunctuation(NextCharacter(piece.text, &position))) continue;
                       AddPiece(piece, word, at, &next);
                       AddPiece(piece, at, position, &next);
                       word = position;
                     }
                     AddPiece(piece, word, end, &next);
                   };
                   size_t run = 0;
                   for (size_t position = 0; position < piece.text.size();) {
                     const size_t begin = position;
                     if (!IsWhiteSpace(NextCharacter(piece.text, &position))) continue;
                     add_words(run, begin);
                     run = position;
                   }
                   add_words(run, piece.text.size());
                 },
                 [&](const pre_tokenizers::Punctuation& punctuation) {
                   SplitAt(piece.text, IsPunctuation, &spans);
                   AddSpans(piece, spans, punctuation.behavior, &next);
                 },
                 [&](const pre_tokenizers::CharDelimiterSplit& split) {
                   SplitAt(
                       piece.text, [&](int32_t c) { return c == split.delimiter; }, &spans);
                   AddSpans(piece, spans, Behavior::kRemoved, &next);
                 },
             },
             step);
}

absl::Span<const Piece> PreTokenizer::Split(std::string_view text, bool begins_text, Scratch* scratch) const {
  scratch->changed.clear();
  scratch->pieces.clear();
  if (!text.empty()) scratch->pieces.push_back({text, begins_text});
  for (const CompiledStep& step : steps_) {
    scratch->next.clear();
    for (const Piece& piece : scratch->pieces) Apply(step, piece, scratch);
    std::swap(scratch->pieces, scratch->next);
  }
  return scratch->pieces;
}

}  // namespace blazon::language
