#include "language/tokenizer/decoder.h"

#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "language/tokenizer/byte_alphabet.h"
#include "language/tokenizer/overloaded.h"
#include "language/tokenizer/unicode.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

using Tokens = std::vector<std::string>;

std::string FromAlphabetOrAsItIs(std::string_view token) {
  return FromByteAlphabet(token).value_or(std::string(token));
}

// The byte that "<0xE4>" spells.
std::optional<char> FallbackByte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with(">")) return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

Tokens JoinFallbackBytes(const Tokens& tokens) {
  Tokens out;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (IsValidUtf8(run)) {
      out.push_back(run);
    } else {
      out.insert(out.end(), run.size(), "\uFFFD");
    }
    run.clear();
  };
  for (const std::string& token : tokens) {
    if (const std::optional<char> byte = FallbackByte(token)) {
      run.push_back(*byte);
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

std::string ReplaceAll(std::string_view text, const Regex& regex, std::string_view content) {
  std::vector<TextSpan> spans;
  regex.Split(text, &spans);
  std::string out;
  for (const TextSpan& span : spans)
    out.append(span.matched ? content : text.substr(span.begin, span.end - span.begin));
  return out;
}

std::string_view StripContent(std::string_view text, int32_t content, int64_t start, int64_t stop) {
  std::string cut;
  AppendUtf8(content, &cut);
  for (int64_t i = 0; i < start && text.starts_with(cut); ++i) text.remove_prefix(cut.size());
  for (int64_t i = 0; i < stop && text.ends_with(cut); ++i) text.remove_suffix(cut.size());
  return text;
}

// No space before punctuation and contractions.
std::string CleanUp(std::string text) {
  for (const auto& [from, to] :
       {std::pair(" .", "."), std::pair(" ?", "?"), std::pair(" !", "!"), std::pair(" ,", ","), std::pair(" ' ", "'"),
        std::pair(" n't", "n't"), std::pair(" 'm", "'m"), std::pair(" do not", " don't"), std::pair(" 's", "'s"),
        std::pair(" 've", "'ve"), std::pair(" 're", "'re")}) {
    text = absl::StrReplaceAll(text, {{from, to}});
  }
  return text;
}

std::string DecodeMetaspace(const std::string& token, const decoders::Metaspace& metaspace, bool first) {
  return absl::StrReplaceAll(token, {{metaspace.replacement, first && metaspace.prepended ? "" : " "}});
}

std::string DecodeWordPiece(const std::string& token, const decoders::WordPiece& word_piece, bool first) {
  std::string text = first                                  ? token
                     : token.starts_with(word_piece.prefix) ? token.substr(word_piece.prefix.size())
                                                            : " " + token;
  return word_piece.cleanup ? CleanUp(std::move(text)) : text;
}

std::string DecodeSuffix(const std::string& token, const decoders::BytePair& byte_pair, bool last) {
  if (byte_pair.suffix.empty()) return token;
  return absl::StrReplaceAll(token, {{byte_pair.suffix, last ? "" : " "}});
}

}  // namespace

absl::StatusOr<Decoder> Decoder::Create(const std::vector<decoders::Step>& steps) {
  Decoder decoder;
  for (const decoders::Step& step : steps) {
    if (const auto* replace = std::get_if<decoders::Replace>(&step)) {
      absl::StatusOr<Regex> regex = Regex::Create(replace->pattern);
      if (!regex.ok()) return regex.status();
      decoder.steps_.emplace_back(CompiledReplace{*std::move(regex), replace->content});
    } else {
      std::visit(
          [&](const auto& plain) {
            if constexpr (std::is_constructible_v<CompiledStep, decltype(plain)>) decoder.steps_.emplace_back(plain);
          },
          step);
    }
  }
  return decoder;
}

std::string Decoder::Decode(std::vector<std::string> tokens) const {
  if (steps_.empty()) return absl::StrJoin(tokens, " ");
  for (const CompiledStep& step : steps_) {
    const auto each = [&](auto&& decode_one) {
      for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = decode_one(tokens[i], i);
    };
    std::visit(
        Overloaded{
            [&](decoders::ByteLevel) {
              std::string bytes;
              for (const std::string& token : tokens) bytes += FromAlphabetOrAsItIs(token);
              tokens = {ReplaceInvalidUtf8(bytes)};
            },
            [&](decoders::ByteFallback) { tokens = JoinFallbackBytes(tokens); },
            [&](decoders::Fuse) { tokens = {absl::StrJoin(tokens, "")}; },
            [&](const decoders::Metaspace& metaspace) {
              each([&](const std::string& token, size_t i) { return DecodeMetaspace(token, metaspace, i == 0); });
            },
            [&](const CompiledReplace& replace) {
              each([&](const std::string& token, size_t) { return ReplaceAll(token, replace.regex, replace.content); });
            },
            [&](const decoders::Strip& strip) {
              each([&](const std::string& token, size_t) {
                return std::string(StripContent(token, strip.content, strip.start, strip.stop));
              });
            },
            [&](const decoders::WordPiece& word_piece) {
              each([&](const std::string& token, size_t i) { return DecodeWordPiece(token, word_piece, i == 0); });
            },
            [&](const decoders::BytePair& byte_pair) {
              each([&](const std::string& token, size_t i) {
                return DecodeSuffix(token, byte_pair, i + 1 == tokens.size());
              });
            },
        },
        step);
  }
  return absl::StrJoin(tokens, "");
}

std::string Decoder::TokenBytes(std::string_view token, bool first) const {
  std::string text(token);
  if (steps_.empty()) return first ? text : " " + text;
  bool fused = false, is_bytes = false;
  for (const CompiledStep& step : steps_) {
    if (is_bytes && !std::holds_alternative<decoders::Fuse>(step) && !std::holds_alternative<decoders::Strip>(step))
      continue;  // a lone byte is no text
    std::visit(Overloaded{
                   [&](decoders::ByteLevel) {
                     text = FromAlphabetOrAsItIs(text);
                     fused = true;
                   },
                   [&](decoders::ByteFallback) {
                     const std::optional<char> byte = FallbackByte(text);
                     if (!byte) return;
                     text = std::string(1, *byte);
                     is_bytes = (*byte & 0x80) != 0;
                   },
                   [&](decoders::Fuse) { fused = true; },
                   [&](const decoders::Metaspace& metaspace) { text = DecodeMetaspace(text, metaspace, first); },
                   [&](const CompiledReplace& replace) { text = ReplaceAll(text, replace.regex, replace.content); },
                   [&](const decoders::Strip& strip) {
                     const bool at_start = !fused || first, at_end = !fused;
                     text = std::string(
                         StripContent(text, strip.content, at_start ? strip.start : 0, at_end ? strip.stop : 0));
                   },
                   [&](const decoders::WordPiece& word_piece) { text = DecodeWordPiece(text, word_piece, first); },
                   [&](const decoders::BytePair& byte_pair) { text = DecodeSuffix(text, byte_pair, false); },
               },
               step);
  }
  return text;
}

}  // namespace blazon::language
