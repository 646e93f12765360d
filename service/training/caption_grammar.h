// English captions of composed scenes. Every sentence is true of the scene it was made from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "service/training/random_source.h"

namespace blazon::service {

// Where two objects are to each other; the first object is the left, or the upper, one.
enum class Layout { kOne, kSideBySide, kStacked, kCount };

struct SceneObject {
  std::string name;  // without an article: "red circle", "pair of scissors"
  std::string kind;  // empty: none
  std::string library;
  std::string path;             // of the cut-out; empty for a drawn shape
  std::vector<float> coverage;  // the share of each of the 3 x 3 cells that it covers, row-major
};

// What a picture shows, in words.
struct SceneDescription {
  Layout layout = Layout::kOne;
  std::vector<SceneObject> objects;  // two when side by side or stacked, otherwise one
  int64_t count = 1;                 // 2 to 5 for kCount
  std::string background;            // "blue", "red and white", "patterned", "blurred"; before the word background
};

std::string WithArticle(const std::string& name);  // "an apple", "a pair of scissors", "the Eiffel Tower"
std::string Plural(const std::string& name);       // "apples", "pairs of scissors", "wolves"

// A sentence; names[i] stands for the scene's object i (its name, or its kind where the name is not to be known).
// Scenes of two objects are told from either side, the choice is random's.
std::string Caption(const SceneDescription& scene, const std::vector<std::string>& names, RandomSource& random);

}  // namespace blazon::service
