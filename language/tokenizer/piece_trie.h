// A set of strings with a number each, to find which of them a text begins with.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace blazon::language {

// Thread safety: const after construction.
class PieceTrie {
 public:
  static constexpr int32_t kNone = -1;
  using Node = uint32_t;
  static constexpr Node kRoot = 0;

  PieceTrie() : PieceTrie(std::vector<std::pair<std::string_view, int32_t>>()) {}
  // Numbers are 0 or more. Of equal strings the last one counts; empty ones are left out.
  explicit PieceTrie(std::vector<std::pair<std::string_view, int32_t>> pieces);

  // Goes on from `*node` by `byte`. False: no string goes on so, and *node is as it was.
  bool Step(char byte, Node* node) const {
    const NodeData& from = nodes_[*node];
    if (*node == kRoot) {
      const Node child = first_[static_cast<uint8_t>(byte)];
      if (child == kRoot) return false;
      *node = child;
      return true;
    }
    for (Node child = from.children; child < from.children + from.count; ++child) {
      if (nodes_[child].byte != static_cast<uint8_t>(byte)) continue;
      *node = child;
      return true;
    }
    return false;
  }
  int32_t value(Node node) const { return nodes_[node].value; }  // kNone: no string ends here

 private:
  struct NodeData {
    Node children = 0;  // the first of `count` neighbours
    uint16_t count = 0;
    uint8_t byte = 0;  // that leads here
    int32_t value = kNone;
  };
  std::vector<NodeData> nodes_;
  Node first_[256] = {};  // children of the root by byte
};

}  // namespace blazon::language
