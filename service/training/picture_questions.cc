#include "service/training/picture_questions.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"

namespace blazon::service {
namespace {

// Both sets of wordings; $0, $1 and $2 stand for what is asked about.
struct Wordings {
  std::vector<const char*> trained, held_out;

  const char* Draw(Wording wording, RandomSource& random) const {
    return random.Pick(wording == Wording::kTrained ? trained : held_out);
  }
};

struct Phrases {
  Wordings one_thing = {{"What is this?", "What is in the picture?", "What does the picture show?", "What can be seen?",
                         "What is it?", "Name what is in the picture."},
                        {"What do you see here?", "What is shown in this picture?"}};
  Wordings two_things = {{"What is in the picture?", "What does the picture show?", "What are the two things?",
                          "What things are in the picture?", "Name what is in the picture."},
                         {"Which things do you see here?", "What is shown in this picture?"}};
  Wordings beside = {{"What is on the $0?", "What is on the $0 side?", "What is on the $0 of the picture?",
                      "Name the thing on the $0.", "What can be seen on the $0?", "What is at the $0?"},
                     {"Which thing is on the $0?", "What do you see on the $0 side of the picture?"}};
  Wordings stacked = {{"What is at the $0?", "What is at the $0 of the picture?", "What is in the $1 half?",
                       "Name the thing at the $0.", "What can be seen at the $0?"},
                      {"Which thing is at the $0?", "What do you see in the $1 part of the picture?"}};
  Wordings relation = {
      {"What is $0 $1?", "What is the thing $0 $1?", "Name the thing $0 $1.", "What can be seen $0 $1?"},
      {"Which thing is $0 $1?", "What do you see $0 $1?"}};
  Wordings where = {{"Where is $0?", "Where is $0 in the picture?", "Where can $0 be seen?", "In which part is $0?"},
                    {"Where do you see $0?", "Whereabouts in the picture is $0?"}};
  Wordings compare = {{"Is $0 $1 $2?", "Does the picture show $0 $1 $2?", "Can you see $0 $1 $2?"},
                      {"Do you see $0 $1 $2?", "Is it true that $0 is $1 $2?"}};
  Wordings presence = {
      {"Is there $0?", "Is there $0 in the picture?", "Does the picture show $0?", "Can you see $0?", "Do you see $0?"},
      {"Is $0 in the picture?", "Does this picture have $0 in it?"}};
  Wordings count = {{"How many things are there?", "How many things are in the picture?", "How many objects are there?",
                     "Count the things.", "How many objects can be seen?"},
                    {"How many things do you see?", "What is the number of objects?"}};
  Wordings count_of = {
      {"How many $0 are there?", "How many $0 are in the picture?", "Count the $0.", "How many $0 can be seen?"},
      {"How many $0 do you see?", "What is the number of $0?"}};
  Wordings colour = {{"What colour is $0?", "What color is $0?", "Which colour has $0?", "What is the colour of $0?"},
                     {"Which color does $0 have?", "In what colour is $0 drawn?"}};
  Wordings background_colour = {
      {"What colour is the background?", "What color is the background?", "What is the background like?",
       "Which colour has the background?", "What is the colour of the background?", "Describe the background."},
      {"Which color does the background have?", "How does the background look?"}};
  Wordings background_manner = {
      {"What is the background like?", "Describe the background.", "What kind of background is it?"},
      {"How does the background look?", "What sort of background does the picture have?"}};
  Wordings kind_of_one = {{"What kind of thing is this?", "What kind of thing is it?",
                           "What kind of thing is in the picture?", "What sort of thing is it?"},
                          {"What type of thing is this?", "What kind of object does the picture show?"}};
  Wordings kind_at = {{"What kind of thing is $0?", "What sort of thing is $0?", "What kind of thing can be seen $0?"},
                      {"What type of thing is $0?", "What kind of object do you see $0?"}};
};

const Phrases& Say() {
  static const auto* const phrases = new Phrases;
  return *phrases;
}

constexpr std::array<const char*, 6> kNumberWords = {"no", "one", "two", "three", "four", "five"};

std::string Sentence(std::string text) {
  text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return absl::StrCat(text, ".");
}

// "the pig", "Santa Claus".
std::string The(const std::string& name) {
  return name == "Santa Claus" || name == "candy" ? name : absl::StrCat("the ", name);
}

// A drawn shape is known without its colour too.
std::string WithoutColour(const SceneObject& object) {
  return object.path.empty() ? object.name.substr(object.name.rfind(' ') + 1) : object.name;
}

bool IsPair(const SceneDescription& scene) {
  return scene.layout == Layout::kSideBySide || scene.layout == Layout::kStacked;
}

// Whether each thing of a pair is known from the other by what it is called: "the bird" is either of a bird and an
// eagle.
bool AreToldApart(const SceneDescription& scene, const std::vector<std::string>& names) {
  return !AreAlike(names[0], names[1]) && names[0] != scene.objects[1].kind && names[1] != scene.objects[0].kind;
}

// Names of object i that count as right: as it is told, and a shape's without its colour.
std::vector<std::string> AcceptedNames(const SceneDescription& scene, const std::vector<std::string>& names, size_t i) {
  std::vector<std::string> accepted = {names[i]};
  if (scene.objects[i].path.empty()) accepted.push_back(WithoutColour(scene.objects[i]));
  return accepted;
}

// Where object i of a pair is, seen from the other.
const char* RelationOf(const SceneDescription& scene, size_t i) {
  if (scene.layout == Layout::kSideBySide) return i == 0 ? "to the left of" : "to the right of";
  return i == 0 ? "above" : "below";
}

// Where object i of a pair is in the picture.
std::string PlaceOf(const SceneDescription& scene, size_t i) {
  if (scene.layout == Layout::kSideBySide) return i == 0 ? "on the left" : "on the right";
  return i == 0 ? "at the top" : "at the bottom";
}

PictureQuestion YesOrNo(QuestionKind kind, std::string question, bool yes) {
  return {kind, std::move(question), yes ? "Yes." : "No.", {yes ? "yes" : "no"}};
}

PictureQuestion AskWhat(const SceneDescription& scene, const std::vector<std::string>& names, Wording wording,
                        RandomSource& random) {
  PictureQuestion asked{QuestionKind::kWhat, "", "", {}};
  if (IsPair(scene)) {
    asked.question = Say().two_things.Draw(wording, random);
    asked.answer = Sentence(absl::StrCat(WithArticle(names[0]), " and ", WithArticle(names[1])));
    for (const std::string& first : AcceptedNames(scene, names, 0)) {
      for (const std::string& second : AcceptedNames(scene, names, 1)) {
        asked.accepted.push_back(absl::StrCat(WithArticle(first), " and ", WithArticle(second)));
        asked.accepted.push_back(absl::StrCat(WithArticle(second), " and ", WithArticle(first)));
      }
    }
    return asked;
  }
  asked.question = Say().one_thing.Draw(wording, random);
  const char* number = kNumberWords[static_cast<size_t>(scene.count)];
  asked.answer = Sentence(scene.count == 1 ? WithArticle(names[0]) : absl::StrCat(number, " ", Plural(names[0])));
  for (const std::string& name : AcceptedNames(scene, names, 0)) {
    asked.accepted.push_back(WithArticle(name));
    if (scene.count == 1) continue;
    asked.accepted.push_back(Plural(name));
    asked.accepted.push_back(absl::StrCat(number, " ", Plural(name)));
  }
  return asked;
}

std::optional<PictureQuestion> AskOfPair(QuestionKind kind, const SceneDescription& scene,
                                         const std::vector<std::string>& names, Wording wording, RandomSource& random) {
  if (!IsPair(scene) || (kind != QuestionKind::kPlace && !AreToldApart(scene, names))) return std::nullopt;
  const size_t i = random.Chance(0.5) ? 1 : 0, other = 1 - i;
  const std::string answer = Sentence(WithArticle(names[i]));
  switch (kind) {
    case QuestionKind::kPlace:
      return PictureQuestion{kind,
                             scene.layout == Layout::kSideBySide
                                 ? absl::Substitute(Say().beside.Draw(wording, random), i == 0 ? "left" : "right")
                                 : absl::Substitute(Say().stacked.Draw(wording, random), i == 0 ? "top" : "bottom",
                                                    i == 0 ? "upper" : "lower"),
                             answer, AcceptedNames(scene, names, i)};
    case QuestionKind::kRelation:
      return PictureQuestion{
          kind, absl::Substitute(Say().relation.Draw(wording, random), RelationOf(scene, i), The(names[other])), answer,
          AcceptedNames(scene, names, i)};
    case QuestionKind::kWhere: {
      const std::string place = PlaceOf(scene, i), last = place.substr(place.rfind(' ') + 1);
      return PictureQuestion{kind,
                             absl::Substitute(Say().where.Draw(wording, random), The(names[i])),
                             Sentence(place),
                             {place, last, absl::StrCat(RelationOf(scene, i), " ", The(names[other]))}};
    }
    default:
      break;
  }
  const bool yes = random.Chance(0.5);
  return YesOrNo(kind,
                 absl::Substitute(Say().compare.Draw(wording, random), The(names[i]),
                                  RelationOf(scene, yes ? i : other), The(names[other])),
                 yes);
}

PictureQuestion AskPresence(const SceneDescription& scene, const std::vector<std::string>& names, Wording wording,
                            absl::Span<const NamedThing> absent, RandomSource& random) {
  const char* question = Say().presence.Draw(wording, random);
  const auto asked = [&](const std::string& name, bool yes) {
    return YesOrNo(QuestionKind::kPresence, absl::Substitute(question, WithArticle(name)), yes);
  };
  const auto object = static_cast<size_t>(random.Below(std::ssize(names)));
  const std::string& its_kind = scene.objects[object].kind;
  const bool by_kind = random.Chance(0.2);
  if (random.Chance(0.5)) return asked(by_kind && !its_kind.empty() ? its_kind : names[object], true);
  if (by_kind) {
    const std::string& kind = random.Pick(AskedKinds());
    const bool sure = std::all_of(scene.objects.begin(), scene.objects.end(), [&](const SceneObject& present) {
      return present.path.empty() || IsSurelyNot({present.name, present.kind}, kind);
    });
    if (sure) return asked(kind, false);
  }
  const auto fits = [&](const NamedThing& thing) {
    return std::none_of(scene.objects.begin(), scene.objects.end(), [&](const SceneObject& present) {
      return AreAlike(thing.name, present.name) || thing.name == present.kind || thing.kind == present.name;
    });
  };
  // Every other one is of the kind of what is there.
  const bool like = random.Chance(0.5);
  for (int tries = 0; tries < 200; ++tries) {
    const NamedThing& thing = random.Pick(absent);
    if (fits(thing) && (!like || tries >= 150 || thing.kind == its_kind)) return asked(thing.name, false);
  }
  return asked(names[object], true);
}

PictureQuestion AskCount(const SceneDescription& scene, const std::vector<std::string>& names, Wording wording,
                         RandomSource& random) {
  const int64_t count = IsPair(scene) ? 2 : scene.count;
  const char* number = kNumberWords[static_cast<size_t>(count)];
  const bool named = !IsPair(scene) && random.Chance(0.5);
  PictureQuestion asked{QuestionKind::kCount,
                        named ? absl::Substitute(Say().count_of.Draw(wording, random), Plural(names[0]))
                              : Say().count.Draw(wording, random),
                        Sentence(number),
                        {number}};
  if (!IsPair(scene)) asked.accepted.push_back(absl::StrCat(number, " ", count == 1 ? names[0] : Plural(names[0])));
  return asked;
}

std::optional<PictureQuestion> AskColour(const SceneDescription& scene, Wording wording, RandomSource& random) {
  std::vector<size_t> shapes;
  for (size_t i = 0; i < scene.objects.size(); ++i) {
    if (scene.objects[i].path.empty()) shapes.push_back(i);
  }
  const bool one_of_two = IsPair(scene) && AreAlike(WithoutColour(scene.objects[0]), WithoutColour(scene.objects[1]));
  if (shapes.empty() || one_of_two) return std::nullopt;
  const SceneObject& object = scene.objects[random.Pick(shapes)];
  const std::string colour = object.name.substr(0, object.name.find(' '));
  return PictureQuestion{QuestionKind::kColour,
                         absl::Substitute(Say().colour.Draw(wording, random), The(WithoutColour(object))),
                         Sentence(colour),
                         {colour}};
}

PictureQuestion AskBackground(const SceneDescription& scene, Wording wording, RandomSource& random) {
  const std::string& words = scene.background;
  const bool manner = words == "patterned" || words == "blurred";
  PictureQuestion asked{QuestionKind::kBackground,
                        (manner ? Say().background_manner : Say().background_colour).Draw(wording, random),
                        Sentence(words),
                        {words, absl::StrCat(words, " background")}};
  if (const size_t joint = words.find(" and "); joint != std::string::npos)
    asked.accepted.push_back(absl::StrCat(words.substr(joint + 5), " and ", words.substr(0, joint)));
  return asked;
}

std::optional<PictureQuestion> AskKind(const SceneDescription& scene, Wording wording, RandomSource& random) {
  const auto i = static_cast<size_t>(random.Below(std::ssize(scene.objects)));
  const std::string& kind = scene.objects[i].kind;
  if (kind.empty()) return std::nullopt;
  PictureQuestion asked{QuestionKind::kKind,
                        IsPair(scene) ? absl::Substitute(Say().kind_at.Draw(wording, random), PlaceOf(scene, i))
                                      : Say().kind_of_one.Draw(wording, random),
                        Sentence(WithArticle(kind)),
                        {kind}};
  if (const char* broader = BroaderKind(kind)) asked.accepted.emplace_back(broader);
  return asked;
}

}  // namespace

const char* Title(QuestionKind kind) {
  static constexpr std::array<const char*, kQuestionKinds> kTitles = {"what is in the picture",
                                                                      "what is on the left, right, top, bottom",
                                                                      "what is left of it, ...",
                                                                      "where is it",
                                                                      "is it left of ..., yes or no",
                                                                      "is there one, yes or no",
                                                                      "how many",
                                                                      "colour of a drawn shape",
                                                                      "what the background is",
                                                                      "what kind of thing"};
  return kTitles[static_cast<size_t>(kind)];
}

std::optional<PictureQuestion> AskOf(QuestionKind kind, const SceneDescription& scene,
                                     const std::vector<std::string>& names, Wording wording,
                                     absl::Span<const NamedThing> absent, RandomSource& random) {
  switch (kind) {
    case QuestionKind::kWhat:
      return AskWhat(scene, names, wording, random);
    case QuestionKind::kPlace:
    case QuestionKind::kRelation:
    case QuestionKind::kWhere:
    case QuestionKind::kCompare:
      return AskOfPair(kind, scene, names, wording, random);
    case QuestionKind::kPresence:
      return AskPresence(scene, names, wording, absent, random);
    case QuestionKind::kCount:
      return AskCount(scene, names, wording, random);
    case QuestionKind::kColour:
      return AskColour(scene, wording, random);
    case QuestionKind::kBackground:
      return AskBackground(scene, wording, random);
    case QuestionKind::kKind:
      return AskKind(scene, wording, random);
  }
  return std::nullopt;
}

std::vector<PictureQuestion> AskSome(int64_t count, const SceneDescription& scene,
                                     const std::vector<std::string>& names, Wording wording,
                                     absl::Span<const NamedThing> absent, RandomSource& random) {
  std::array<int64_t, kQuestionKinds> order;
  for (int64_t i = 0; i < kQuestionKinds; ++i) order[static_cast<size_t>(i)] = i;
  for (int64_t i = kQuestionKinds - 1; i > 0; --i)
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(random.Below(i + 1))]);
  std::vector<PictureQuestion> asked;
  for (const int64_t kind : order) {
    if (std::ssize(asked) >= count) break;
    std::optional<PictureQuestion> question =
        AskOf(static_cast<QuestionKind>(kind), scene, names, wording, absent, random);
    if (question) asked.push_back(*std::move(question));
  }
  return asked;
}

std::vector<PictureQuestion> AskOfPhoto(int64_t count, const std::string& name, const std::string& kind,
                                        absl::Span<const NamedThing> absent, RandomSource& random) {
  SceneDescription scene;
  scene.objects.push_back({name, kind, "", "photograph", {}});
  std::vector<PictureQuestion> asked;
  for (int64_t i = 0; i < count; ++i) {
    const double choice = random.Uniform();
    std::optional<PictureQuestion> question = AskOf(choice < 0.4   ? QuestionKind::kWhat
                                                    : choice < 0.8 ? QuestionKind::kPresence
                                                                   : QuestionKind::kKind,
                                                    scene, {name}, Wording::kTrained, absent, random);
    if (question) asked.push_back(*std::move(question));
  }
  return asked;
}

std::string RequestForCaption(RandomSource& random) {
  static constexpr const char* kRequests[] = {"Describe the picture.", "Describe this picture.", "Write a caption.",
                                              "Caption the picture.", "Put the picture into words."};
  return random.Pick(kRequests);
}

}  // namespace blazon::service
