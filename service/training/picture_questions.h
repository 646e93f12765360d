// English questions about composed scenes, with their answers. Every answer is true of the scene it was made from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "service/training/caption_grammar.h"
#include "service/training/like_things.h"
#include "service/training/random_source.h"

namespace blazon::service {

enum class QuestionKind {
  kWhat,        // "What is in the picture?" - "A pig and a guitar."
  kPlace,       // "What is on the left?" - "A pig."
  kRelation,    // "What is to the left of the guitar?" - "A pig."
  kWhere,       // "Where is the pig?" - "On the left."
  kCompare,     // "Is the pig to the left of the guitar?" - "Yes."
  kPresence,    // "Is there a pig in the picture?" - "Yes.": half of them about what is not there, often of its kind
  kCount,       // "How many things are there?" - "Two."
  kColour,      // "What colour is the circle?" - "Red.": of drawn shapes
  kBackground,  // "What colour is the background?" - "Blue and white."
  kKind,        // "What kind of thing is on the left?" - "An animal."
};
constexpr int64_t kQuestionKinds = 10;
// "how many", ...: for tables.
const char* Title(QuestionKind kind);

// Which wordings a question is drawn from; no training sees the held-out ones.
enum class Wording { kTrained, kHeldOut };

struct PictureQuestion {
  QuestionKind kind = QuestionKind::kWhat;
  std::string question;
  std::string answer;                 // a sentence, as it is learned
  std::vector<std::string> accepted;  // answers that count as right, as NormalizedAnswer compares them
};

// A question of `kind` about the scene; nothing where it has none (the colour of a shape where no shape is). names: as
// Caption takes them. absent: things to ask for that may not be there; at least one.
std::optional<PictureQuestion> AskOf(QuestionKind kind, const SceneDescription& scene,
                                     const std::vector<std::string>& names, Wording wording,
                                     absl::Span<const NamedThing> absent, RandomSource& random);

// Up to `count` questions of different kinds.
std::vector<PictureQuestion> AskSome(int64_t count, const SceneDescription& scene,
                                     const std::vector<std::string>& names, Wording wording,
                                     absl::Span<const NamedThing> absent, RandomSource& random);

// The same about a photograph of one thing, of which nothing but its name and kind is known.
std::vector<PictureQuestion> AskOfPhoto(int64_t count, const std::string& name, const std::string& kind,
                                        absl::Span<const NamedThing> absent, RandomSource& random);

// "Describe the picture.": words that ask for a caption. Training draws from them.
std::string RequestForCaption(RandomSource& random);

}  // namespace blazon::service
