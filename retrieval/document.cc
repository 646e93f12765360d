#include "retrieval/document.h"

#include <algorithm>

namespace blazon::retrieval {
namespace {

constexpr char kGiven[] = "given:";

}  // namespace

std::string GivenEmbedder(const std::string& name) { return IsGivenEmbedder(name) ? name : kGiven + name; }
bool IsGivenEmbedder(const std::string& fingerprint) { return fingerprint.starts_with(kGiven); }

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

const std::string& Document::PlaceAt(size_t offset) const {
  static const std::string none;
  const auto after = std::upper_bound(places.begin(), places.end(), offset,
                                      [](size_t value, const Place& place) { return value < place.begin; });
  return after == places.begin() ? none : (after - 1)->name;
}

Box Document::BoxOf(Span span) const {
  double left = 0, top = 0, right = 0, bottom = 0;
  bool any = false;
  auto region = std::partition_point(regions.begin(), regions.end(),
                                     [&](const Region& before) { return before.span.end <= span.begin; });
  for (; region != regions.end() && region->span.begin < span.end; ++region) {
    const Box& box = region->box;
    if (box.empty()) continue;
    left = any ? std::min(left, box.left) : box.left;
    top = any ? std::min(top, box.top) : box.top;
    right = any ? std::max(right, box.left + box.width) : box.left + box.width;
    bottom = any ? std::max(bottom, box.top + box.height) : box.top + box.height;
    any = true;
  }
  return any ? Box{left, top, right - left, bottom - top} : Box{};
}

}  // namespace blazon::retrieval
