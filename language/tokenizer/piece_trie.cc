#include "language/tokenizer/piece_trie.h"

#include <algorithm>

namespace blazon::language {

// Breadth first over the sorted strings, so that the children of a node are neighbours.
PieceTrie::PieceTrie(std::vector<std::pair<std::string_view, int32_t>> pieces) {
  std::stable_sort(pieces.begin(), pieces.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  struct Range {
    Node node;
    size_t begin, end;  // of the strings that go through it
    size_t depth;
  };
  nodes_.emplace_back();
  std::vector<Range> ranges = {{kRoot, 0, pieces.size(), 0}};
  for (size_t next = 0; next < ranges.size(); ++next) {
    const Range range = ranges[next];
    size_t at = range.begin;
    for (; at < range.end && pieces[at].first.size() == range.depth; ++at) {
      if (range.depth > 0) nodes_[range.node].value = pieces[at].second;
    }
    nodes_[range.node].children = static_cast<Node>(nodes_.size());
    while (at < range.end) {
      const char byte = pieces[at].first[range.depth];
      size_t end = at;
      while (end < range.end && pieces[end].first[range.depth] == byte) ++end;
      ranges.push_back({static_cast<Node>(nodes_.size()), at, end, range.depth + 1});
      nodes_.push_back({.byte = static_cast<uint8_t>(byte)});
      ++nodes_[range.node].count;
      at = end;
    }
  }
  for (Node child = nodes_[kRoot].children; child < nodes_[kRoot].children + nodes_[kRoot].count; ++child)
    first_[nodes_[child].byte] = child;
}

}  // namespace blazon::language
