#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

std::vector<TokenId> Tokenizer::EncodeSegments(absl::Span<const TextSegment> segments) const {
  std::vector<TokenId> ids;
  std::string plain;
  const auto flush = [&] {
    if (plain.empty()) return;
    const std::vector<TokenId> encoded = Encode(plain);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
    plain.clear();
  };
  for (const TextSegment& segment : segments) {
    size_t at = 0;
    if (!segment.is_data) {
      // The control tokens come in the order in which they are spelled out, the leftmost first.
      for (const TokenId id : EncodeWithSpecials(segment.text)) {
        if (!IsSpecial(id)) continue;
        const std::string spelling = TokenBytes(id);
        const size_t begin = segment.text.find(spelling, at);
        if (begin == std::string::npos) continue;
        plain.append(segment.text, at, begin - at);
        flush();
        ids.push_back(id);
        at = begin + spelling.size();
      }
    }
    plain.append(segment.text, at);
  }
  flush();
  return ids;
}

}  // namespace blazon::language
