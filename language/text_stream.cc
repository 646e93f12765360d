#include "language/text_stream.h"

#include <algorithm>
#include <utility>

#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

// Length of the longest suffix of `text` that is a proper prefix of `stop`.
size_t Overlap(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.substr(text.size() - length) == stop.substr(0, length)) return length;
  }
  return 0;
}

// Length of an unfinished character at the end of `text`: a lead byte and fewer continuation bytes than it announces.
size_t UnfinishedCharacter(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if (byte < 0x80) return 0;
    if (byte < 0xC0) continue;  // continuation byte
    const size_t announced = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    return announced > back ? back : 0;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(std::vector<std::string> stop, bool begins_text)
    : stop_(std::move(stop)), at_beginning_(begins_text) {}

std::string TextStream::Push(const Tokenizer& tokenizer, TokenId id) {
  if (tokenizer.IsSpecial(id)) return {};
  return Push(std::exchange(at_beginning_, false) ? tokenizer.FirstTokenBytes(id) : tokenizer.TokenBytes(id));
}

std::string TextStream::Push(std::string_view bytes) {
  if (stopped_) return {};
  held_.append(bytes);
  size_t first = std::string::npos, overlap = 0;
  for (const std::string& stop : stop_) {
    first = std::min(first, held_.find(stop));
    overlap = std::max(overlap, Overlap(held_, stop));
  }
  if (first != std::string::npos) {
    stopped_ = true;
    held_.resize(first);
    return Finish();
  }
  size_t ready = held_.size() - overlap;
  ready -= UnfinishedCharacter(std::string_view(held_).substr(0, ready));
  std::string text = ReplaceInvalidUtf8(std::string_view(held_).substr(0, ready));
  held_.erase(0, ready);
  return text;
}

std::string TextStream::Finish() { return ReplaceInvalidUtf8(std::exchange(held_, {})); }

}  // namespace blazon::language
