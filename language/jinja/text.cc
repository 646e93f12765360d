#include "language/jinja/text.h"

#include <algorithm>

namespace blazon::language::jinja {

size_t Text::RunAt(size_t position) const {
  const auto run =
      std::upper_bound(runs_.begin(), runs_.end(), position, [](size_t at, const Run& r) { return at < r.end; });
  return static_cast<size_t>(run - runs_.begin());
}

bool Text::IsData(size_t position) const { return runs_[RunAt(position)].is_data; }

bool Text::HasData() const {
  return std::any_of(runs_.begin(), runs_.end(), [](const Run& run) { return run.is_data; });
}

void Text::Append(std::string_view bytes, bool is_data) {
  if (bytes.empty()) return;
  bytes_.append(bytes);
  if (!runs_.empty() && runs_.back().is_data == is_data) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), is_data});
  }
}

void Text::Append(const Text& other, size_t begin, size_t end) {
  if (&other == this) return Append(Text(other), begin, end);
  if (begin >= end) return;
  for (size_t run = other.RunAt(begin); begin < end; ++run) {
    const size_t stop = std::min(end, other.runs_[run].end);
    Append(std::string_view(other.bytes_).substr(begin, stop - begin), other.runs_[run].is_data);
    begin = stop;
  }
}

Text Text::Part(size_t begin, size_t end) const {
  Text part;
  part.Append(*this, begin, end);
  return part;
}

}  // namespace blazon::language::jinja
