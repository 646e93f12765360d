#include "retrieval/document.h"

#include <algorithm>

namespace blazon::retrieval {

size_t Document::SourceOffset(size_t offset) const {
  const auto after = std::upper_bound(source_map.begin(), source_map.end(), offset,
                                      [](size_t value, const SourceRun& run) { return value < run.text_begin; });
  if (after == source_map.begin()) return 0;
  const SourceRun& run = *(after - 1);
  return run.source_begin + std::min(offset - run.text_begin, run.length);
}

int64_t Document::Line(size_t offset) const {
  if (line_starts.empty()) return 1;
  const size_t source_offset = SourceOffset(offset);
  return std::max<int64_t>(
      1, std::upper_bound(line_starts.begin(), line_starts.end(), source_offset) - line_starts.begin());
}

const std::vector<std::string>& Document::HeadingsAt(size_t offset) const {
  static const std::vector<std::string> none;
  const auto after = std::upper_bound(sections.begin(), sections.end(), offset,
                                      [](size_t value, const Section& section) { return value < section.begin; });
  return after == sections.begin() ? none : (after - 1)->headings;
}

}  // namespace blazon::retrieval
