// Questions about scenes: what is asked of each, and that the scene gives the answer.
#include "service/training/picture_questions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "service/checkpoint/image_encoder_loader.h"
#include "service/families/captioner_family.h"
#include "service/training/caption_samples.h"
#include "service/training/captioner_dataset.h"
#include "service/training/like_things.h"
#include "service/training/picture_library.h"
#include "service/training/scene_composer.h"

namespace blazon::service {
namespace {

const std::filesystem::path kRoot = BLAZON_SOURCE_DIR;

SceneObject Thing(const std::string& name, const std::string& kind) {
  return {name, kind, "stamps", name + ".png", {}};
}
SceneObject Shape(const std::string& name) { return {name, "", "", "", {}}; }

const std::vector<NamedThing> kAbsent = {{"house", "building"}, {"drum", "musical instrument"}, {"horse", "animal"}};

std::vector<std::string> Names(const SceneDescription& scene) {
  std::vector<std::string> names;
  for (const SceneObject& object : scene.objects) names.push_back(object.name);
  return names;
}

const absl::StatusOr<PictureLibrary>& Stamps() {
  static const auto* const library = new auto(
      PictureLibrary::Load(kRoot / "assets/captioner/pictures.tsv", {{"stamps", "/usr/share/tuxpaint/stamps"}}, {}));
  return *library;
}

// What was asked, with the answers that were given to it.
using Asked = std::map<std::string, std::set<std::string>>;

Asked Draw(QuestionKind kind, const SceneDescription& scene, Wording wording, int draws, uint64_t seed,
           const std::vector<NamedThing>& absent = kAbsent) {
  RandomSource random(seed);
  Asked asked;
  for (int i = 0; i < draws; ++i) {
    if (const auto question = AskOf(kind, scene, Names(scene), wording, absent, random)) {
      EXPECT_EQ(question->kind, kind);
      EXPECT_FALSE(question->accepted.empty());
      asked[question->question].insert(question->answer);
    }
  }
  return asked;
}

const SceneDescription kBeside{Layout::kSideBySide, {Thing("pig", "animal"), Thing("guitar", "")}, 1, "blue and white"};
const SceneDescription kStacked{Layout::kStacked, {Shape("red circle"), Thing("eagle", "bird")}, 1, "patterned"};
const SceneDescription kThree{Layout::kCount, {Thing("pig", "animal")}, 3, "green"};

TEST(PictureQuestions, EachKindAsTheSceneHasIt) {
  const struct {
    QuestionKind kind;
    const SceneDescription& scene;
    const char *question, *answer;
  } cases[] = {
      {QuestionKind::kWhat, kBeside, "What is in the picture?", "A pig and a guitar."},
      {QuestionKind::kWhat, kThree, "What is in the picture?", "Three pigs."},
      {QuestionKind::kPlace, kBeside, "What is on the left?", "A pig."},
      {QuestionKind::kPlace, kBeside, "What is on the right?", "A guitar."},
      {QuestionKind::kPlace, kStacked, "What is at the top?", "A red circle."},
      {QuestionKind::kPlace, kStacked, "What is in the lower half?", "An eagle."},
      {QuestionKind::kRelation, kBeside, "What is to the left of the guitar?", "A pig."},
      {QuestionKind::kRelation, kStacked, "What is below the red circle?", "An eagle."},
      {QuestionKind::kWhere, kBeside, "Where is the guitar?", "On the right."},
      {QuestionKind::kWhere, kStacked, "Where is the eagle?", "At the bottom."},
      {QuestionKind::kCompare, kBeside, "Is the pig to the left of the guitar?", "Yes."},
      {QuestionKind::kCompare, kBeside, "Is the pig to the right of the guitar?", "No."},
      {QuestionKind::kCompare, kStacked, "Is the eagle above the red circle?", "No."},
      {QuestionKind::kPresence, kBeside, "Is there a pig?", "Yes."},
      {QuestionKind::kPresence, kBeside, "Is there an animal?", "Yes."},
      {QuestionKind::kPresence, kBeside, "Is there a horse?", "No."},
      {QuestionKind::kPresence, kThree, "Is there a building?", "No."},
      {QuestionKind::kCount, kBeside, "How many things are there?", "Two."},
      {QuestionKind::kCount, kThree, "How many things are there?", "Three."},
      {QuestionKind::kCount, kThree, "How many pigs are there?", "Three."},
      {QuestionKind::kColour, kStacked, "What colour is the circle?", "Red."},
      {QuestionKind::kBackground, kBeside, "What colour is the background?", "Blue and white."},
      {QuestionKind::kBackground, kStacked, "What is the background like?", "Patterned."},
      {QuestionKind::kKind, kBeside, "What kind of thing is on the left?", "An animal."},
      {QuestionKind::kKind, kThree, "What kind of thing is this?", "An animal."},
  };
  for (const auto& each : cases) {
    const Asked asked = Draw(each.kind, each.scene, Wording::kTrained, 4000, 11);
    ASSERT_TRUE(asked.contains(each.question)) << each.question;
    EXPECT_EQ(asked.at(each.question), std::set<std::string>{each.answer}) << each.question;
  }
}

TEST(PictureQuestions, OtherWordsForARightAnswerAreAccepted) {
  RandomSource random(2);
  const auto accepts = [&](QuestionKind kind, const SceneDescription& scene, const std::string& answer) {
    const auto asked = AskOf(kind, scene, Names(scene), Wording::kTrained, kAbsent, random);
    return asked && std::find(asked->accepted.begin(), asked->accepted.end(), answer) != asked->accepted.end();
  };
  EXPECT_TRUE(accepts(QuestionKind::kWhat, kBeside, "a guitar and a pig"));
  EXPECT_TRUE(accepts(QuestionKind::kWhat, kThree, "pigs"));
  EXPECT_FALSE(accepts(QuestionKind::kWhat, kBeside, "a pig"));
  EXPECT_TRUE(accepts(QuestionKind::kBackground, kBeside, "white and blue"));
  EXPECT_FALSE(accepts(QuestionKind::kBackground, kBeside, "blue"));
  const SceneDescription eagle{Layout::kOne, {Thing("eagle", "bird")}, 1, "red"};
  EXPECT_TRUE(accepts(QuestionKind::kKind, eagle, "bird"));
  EXPECT_TRUE(accepts(QuestionKind::kKind, eagle, "animal"));
  EXPECT_FALSE(accepts(QuestionKind::kKind, eagle, "eagle"));
}

TEST(PictureQuestions, NothingIsAskedThatTheSceneDoesNotTell) {
  using enum QuestionKind;
  const auto none = [](QuestionKind kind, const SceneDescription& scene) {
    return Draw(kind, scene, Wording::kTrained, 100, 5).empty() && Draw(kind, scene, Wording::kHeldOut, 100, 5).empty();
  };
  // "The bird" is either of these; where each of them stands is known all the same.
  const SceneDescription birds{Layout::kSideBySide, {Thing("bird", "animal"), Thing("eagle", "bird")}, 1, "red"};
  for (const QuestionKind kind : {kRelation, kWhere, kCompare}) EXPECT_TRUE(none(kind, birds)) << Title(kind);
  EXPECT_FALSE(none(kPlace, birds));
  for (const QuestionKind kind : {kPlace, kRelation, kWhere, kCompare, kColour})
    EXPECT_TRUE(none(kind, kThree)) << Title(kind);
  const SceneDescription circles{Layout::kStacked, {Shape("red circle"), Shape("blue circle")}, 1, "green"};
  EXPECT_TRUE(none(kColour, circles));
  EXPECT_FALSE(none(kWhere, circles)) << "their colours tell them apart";
  const SceneDescription stars{Layout::kStacked, {Shape("red star"), Thing("star", "")}, 1, "green"};
  EXPECT_TRUE(none(kColour, stars));
  EXPECT_TRUE(none(kKind, stars));

  // What could be taken for what is there is not asked for as absent: neither by name nor by kind.
  const SceneDescription eagle{Layout::kOne, {Thing("eagle", "bird")}, 1, "red"};
  const Asked asked = Draw(kPresence, eagle, Wording::kTrained, 400, 5,
                           {{"bird", "animal"}, {"vulture", "bird"}, {"bald eagle", "bird"}, {"drum", ""}});
  EXPECT_TRUE(asked.contains("Is there a drum?"));
  for (const auto& [question, answers] : asked) {
    for (const char* words : {"bird", "eagle"}) {
      if (question.find(words) != std::string::npos) {
        EXPECT_EQ(answers, std::set<std::string>{"Yes."}) << question;
      }
    }
    for (const char* words : {"vulture", "animal", "insect"}) EXPECT_EQ(question.find(words), std::string::npos);
  }
}

TEST(PictureQuestions, AQuestionAboutASceneHasOneAnswer) {
  const auto& library = Stamps();
  ASSERT_TRUE(library.ok()) << library.status();
  SceneOptions options;
  options.shapes = 0.3;
  const SceneComposer composer(*library, {}, options);
  std::vector<NamedThing> absent;
  for (const Cutout& cutout : library->cutouts()) absent.push_back({cutout.name, cutout.kind});
  RandomSource random(23);
  std::map<Wording, std::set<std::string>> backgrounds;
  std::set<QuestionKind> seen;
  for (int i = 0; i < 60; ++i) {
    const SceneDescription scene = composer.Compose(random).description;
    for (int64_t kind = 0; kind < kQuestionKinds; ++kind) {
      for (const Wording wording : {Wording::kTrained, Wording::kHeldOut}) {
        const Asked asked = Draw(static_cast<QuestionKind>(kind), scene, wording, 30, random.Seed(), absent);
        for (const auto& [question, answers] : asked) {
          EXPECT_EQ(answers.size(), 1U) << question;
          seen.insert(static_cast<QuestionKind>(kind));
          if (static_cast<QuestionKind>(kind) == QuestionKind::kBackground) backgrounds[wording].insert(question);
        }
      }
    }
  }
  EXPECT_EQ(std::ssize(seen), kQuestionKinds);
  for (const std::string& question : backgrounds[Wording::kHeldOut])
    EXPECT_FALSE(backgrounds[Wording::kTrained].contains(question)) << question << " is not held out";
}

TEST(PictureQuestions, SomeAreOfDifferentKindsAndTheSameForASeed) {
  RandomSource first(7), second(7), other(8);
  bool differs = false;
  for (int i = 0; i < 50; ++i) {
    const auto asked = AskSome(3, kBeside, Names(kBeside), Wording::kTrained, kAbsent, first);
    const auto again = AskSome(3, kBeside, Names(kBeside), Wording::kTrained, kAbsent, second);
    const auto others = AskSome(3, kBeside, Names(kBeside), Wording::kTrained, kAbsent, other);
    ASSERT_EQ(asked.size(), 3U);
    ASSERT_EQ(again.size(), 3U);
    std::set<QuestionKind> kinds;
    for (size_t j = 0; j < 3; ++j) {
      kinds.insert(asked[j].kind);
      EXPECT_EQ(asked[j].question, again[j].question);
      EXPECT_EQ(asked[j].answer, again[j].answer);
      differs |= asked[j].question != others[j].question;
    }
    EXPECT_EQ(kinds.size(), 3U);
  }
  EXPECT_TRUE(differs);
}

TEST(PictureQuestions, OfAPhotographOnlyItsNameAndKindAreKnown) {
  RandomSource random(3);
  Asked asked;
  for (int i = 0; i < 200; ++i) {
    for (const PictureQuestion& question : AskOfPhoto(2, "tabby cat", "cat", kAbsent, random)) {
      EXPECT_TRUE(question.kind == QuestionKind::kWhat || question.kind == QuestionKind::kPresence ||
                  question.kind == QuestionKind::kKind)
          << question.question;
      asked[question.question].insert(question.answer);
    }
  }
  EXPECT_EQ(asked["What is this?"], std::set<std::string>{"A tabby cat."});
  EXPECT_EQ(asked["What kind of thing is this?"], std::set<std::string>{"A cat."});
  EXPECT_EQ(asked["Is there a tabby cat?"], std::set<std::string>{"Yes."});
  EXPECT_EQ(asked["Is there a house?"], std::set<std::string>{"No."});
}

TEST(LikeThings, NamesThatCouldBeOneAndKindsThatCannot) {
  EXPECT_TRUE(AreAlike("car", "police car"));
  EXPECT_TRUE(AreAlike("hen", "rooster"));
  EXPECT_FALSE(AreAlike("car", "carrot"));
  EXPECT_FALSE(AreAlike("pig", "guitar"));
  EXPECT_STREQ(BroaderKind("truck"), "vehicle");
  EXPECT_EQ(BroaderKind("vehicle"), nullptr);
  EXPECT_TRUE(IsSurelyNot({"pig", "animal"}, "building"));
  EXPECT_FALSE(IsSurelyNot({"pig", "animal"}, "bird")) << "kinds of one part of the world are not told apart";
  EXPECT_FALSE(IsSurelyNot({"windmill", ""}, "building")) << "nothing is known of it";
}

// What the third stage draws: a caption, and as many questions as were wanted, of the same scene.
TEST(CaptionSamples, CaptionsAndQuestionsOfOneScene) {
  const auto& library = Stamps();
  ASSERT_TRUE(library.ok()) << library.status();
  auto encoder = LoadImageEncoder(kRoot / "models/efficientnet-lite0");
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const auto weights = ReadCaptioner(kRoot / "assets/captioner/captioner.safetensors");
  ASSERT_TRUE(weights.ok()) << weights.status();
  const SceneComposer composer(*library, {}, {});
  TrainingSet set;
  auto scenes = EncodeScenes(composer, **encoder, 12, 4, [](int64_t) { return true; });
  ASSERT_TRUE(scenes.ok()) << scenes.status();
  set.scenes = *std::move(scenes);
  set.reserved.assign(12, 0);
  CaptionStageOptions options;
  options.edited_share = 0;  // no photographs
  const auto draw = [&](int64_t questions) {
    options.questions = questions;
    CaptionSampleSource source(**encoder, set, weights->tagger, options);
    std::vector<CaptionSampleSource::Sample> samples;
    for (int i = 0; i < 60; ++i) samples.push_back(source.Next());
    return samples;
  };
  for (const auto& sample : draw(0)) {
    EXPECT_TRUE(sample.instruction.empty());
    EXPECT_TRUE(sample.questions.empty());
  }
  const auto samples = draw(3), again = draw(3);
  int requests = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    EXPECT_EQ(samples[i].caption, again[i].caption);
    EXPECT_EQ(samples[i].questions.size(), 3U);
    requests += !samples[i].instruction.empty();
    for (const PictureQuestion& asked : samples[i].questions) {
      if (asked.kind != QuestionKind::kWhat) continue;
      std::string thing = asked.answer.substr(0, asked.answer.find_first_of(" .", 2));  // "A pig", "Three"
      EXPECT_TRUE(samples[i].caption.find(thing.substr(thing.find(' ') + 1)) != std::string::npos)
          << samples[i].caption << " " << asked.answer;
    }
  }
  EXPECT_GT(requests, 0);
  EXPECT_LT(requests, 30);
}

}  // namespace
}  // namespace blazon::service
