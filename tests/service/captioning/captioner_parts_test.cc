// The parts that the captioner is trained with: grammar, scenes, optimiser, adapter, tagger and the file of weights.
#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <set>
#include <string>

#include "language/training/adamw.h"
#include "language/training/lora.h"
#include "service/checkpoint/image_encoder_loader.h"
#include "service/families/captioner_family.h"
#include "service/families/colour_reading.h"
#include "service/training/caption_grammar.h"
#include "service/training/captioner_dataset.h"
#include "service/training/evaluate_captioner.h"
#include "service/training/imagenet_names.h"
#include "service/training/picture_library.h"
#include "service/training/scene_composer.h"

namespace blazon::service {
namespace {

const std::filesystem::path kRoot = BLAZON_SOURCE_DIR;
const std::map<std::string, std::filesystem::path> kLibraries = {{"stamps", "/usr/share/tuxpaint/stamps"}};

TEST(CaptionGrammar, ArticlesAndPlurals) {
  EXPECT_EQ(WithArticle("apple"), "an apple");
  EXPECT_EQ(WithArticle("pair of scissors"), "a pair of scissors");
  EXPECT_EQ(WithArticle("unicorn"), "a unicorn");
  EXPECT_EQ(WithArticle("hourglass"), "an hourglass");
  EXPECT_EQ(WithArticle("Eiffel Tower"), "the Eiffel Tower");
  EXPECT_EQ(Plural("apple"), "apples");
  EXPECT_EQ(Plural("pair of scissors"), "pairs of scissors");
  EXPECT_EQ(Plural("wolf"), "wolves");
  EXPECT_EQ(Plural("loaf of bread"), "loaves of bread");
  EXPECT_EQ(Plural("butterfly"), "butterflies");
  EXPECT_EQ(Plural("monkey"), "monkeys");
  EXPECT_EQ(Plural("paintbrush"), "paintbrushes");
  EXPECT_EQ(Plural("clownfish"), "clownfish");
}

TEST(CaptionGrammar, TellsTwoObjectsFromEitherSide) {
  SceneDescription scene;
  scene.layout = Layout::kSideBySide;
  scene.objects = {{"pig", "animal", "stamps", "pig.png", {}}, {"guitar", "", "stamps", "guitar.png", {}}};
  RandomSource random(3);
  std::set<std::string> captions;
  for (int i = 0; i < 20; ++i) captions.insert(Caption(scene, {"pig", "guitar"}, random));
  EXPECT_EQ(captions, (std::set<std::string>{"A pig to the left of a guitar.", "A guitar to the right of a pig."}));
  for (const std::string& caption : captions) EXPECT_TRUE(RelationIsRight(caption, scene)) << caption;
  EXPECT_FALSE(RelationIsRight("A guitar to the left of a pig.", scene));
  EXPECT_FALSE(RelationIsRight("A pig and a guitar.", scene));
}

TEST(Mentions, WholeWordsAndPlurals) {
  EXPECT_TRUE(Mentions("Three apples on a blue background.", "apple"));
  EXPECT_TRUE(Mentions("An Apple.", "apple"));
  EXPECT_FALSE(Mentions("A pineapple.", "apple"));
  EXPECT_FALSE(Mentions("A catfish.", "cat"));
}

TEST(ImageNetConcept, PlainNamesAndKinds) {
  EXPECT_EQ(ImageNetConcept(281, "tabby").name, "tabby cat");
  EXPECT_EQ(ImageNetConcept(281, "tabby").kind, "cat");
  EXPECT_EQ(ImageNetConcept(207, "golden retriever").kind, "dog");
  EXPECT_EQ(ImageNetConcept(420, "banjo").kind, "");
}

TEST(SceneComposer, TheSameSeedGivesTheSameScenes) {
  auto library = PictureLibrary::Load(kRoot / "assets/captioner/pictures.tsv", kLibraries, {});
  ASSERT_TRUE(library.ok()) << library.status();
  EXPECT_GT(library->cutouts().size(), 400U);
  const SceneComposer composer(*library, {}, {});
  RandomSource first(5), second(5);
  for (int i = 0; i < 20; ++i) {
    const Scene a = composer.Compose(first), b = composer.Compose(second);
    EXPECT_EQ(a.image.pixels, b.image.pixels);
    EXPECT_EQ(a.image.pixels.size(), 3U * SceneComposer::kSide * SceneComposer::kSide);
    ASSERT_FALSE(a.description.objects.empty());
    EXPECT_EQ(a.description.objects.size(),
              a.description.layout == Layout::kSideBySide || a.description.layout == Layout::kStacked ? 2U : 1U);
    if (a.description.layout == Layout::kSideBySide) {
      EXPECT_GT(a.description.objects[0].coverage[3] + 0.01, a.description.objects[0].coverage[5])
          << "the first object is the left one";
    }
  }
}

// A picture of one colour, with rectangles in others.
struct Rectangle {
  int64_t left, top, width, height;
  std::array<uint8_t, 3> colour;
};
vision::Image Painted(int64_t width, int64_t height, const std::vector<Rectangle>& rectangles) {
  vision::Image image{width, height, std::vector<uint8_t>(static_cast<size_t>(3 * width * height))};
  for (const Rectangle& rectangle : rectangles) {
    for (int64_t y = rectangle.top; y < rectangle.top + rectangle.height; ++y) {
      for (int64_t x = rectangle.left; x < rectangle.left + rectangle.width; ++x)
        std::copy(rectangle.colour.begin(), rectangle.colour.end(), image.pixels.begin() + 3 * (y * width + x));
    }
  }
  return image;
}

TEST(DescribeColours, BackgroundAndParts) {
  const Rectangle blue{0, 0, 300, 200, {45, 80, 205}};
  EXPECT_EQ(DescribeColours(Painted(300, 200, {blue})), "blue background");
  EXPECT_EQ(DescribeColours(Painted(300, 200, {blue, {100, 50, 90, 100, {210, 30, 40}}})),
            "blue background, one red part");
  EXPECT_EQ(
      DescribeColours(Painted(300, 200, {blue, {30, 50, 90, 90, {250, 250, 250}}, {180, 60, 90, 90, {20, 20, 20}}})),
      "blue background, two parts, white and black");
  EXPECT_EQ(DescribeColours(Painted(300, 200,
                                    {blue,
                                     {20, 50, 60, 60, {240, 220, 50}},
                                     {120, 60, 60, 60, {240, 220, 50}},
                                     {220, 60, 60, 60, {240, 220, 50}}})),
            "blue background, three yellow parts");
  std::vector<Rectangle> stripes = {blue};
  for (int64_t x = 0; x < 300; x += 30) stripes.push_back({x, 0, 15, 200, {240, 220, 50}});
  EXPECT_EQ(DescribeColours(Painted(300, 200, stripes)), "patterned background");
  std::vector<Rectangle> gradient;
  for (int64_t y = 0; y < 200; ++y) {
    const auto level = static_cast<uint8_t>(248 - 220 * y / 200);
    gradient.push_back({0, y, 300, 1, {level, level, level}});
  }
  EXPECT_EQ(DescribeColours(Painted(300, 200, gradient)), "white and black background");
  EXPECT_EQ(DescribeColours(Painted(1, 1, {{0, 0, 1, 1, {240, 140, 30}}})), "orange background");
}

TEST(DescribeColours, IsMostlyRightOfScenes) {
  auto library = PictureLibrary::Load(kRoot / "assets/captioner/pictures.tsv", kLibraries, {});
  ASSERT_TRUE(library.ok()) << library.status();
  SceneOptions options;
  options.augmentation = Augmentation::kMild;
  const SceneComposer composer(*library, {}, options);
  RandomSource random(17);
  static constexpr const char* kNumbers[] = {"", "one", "two", "three", "four", "five"};
  int64_t scenes = 0, backgrounds = 0, counted = 0, counts = 0, shapes = 0, colours = 0;
  for (int i = 0; i < 300; ++i) {
    const Scene scene = composer.Compose(random);
    const SceneDescription& told = scene.description;
    const std::string text = DescribeColours(scene.image);
    ++scenes;
    backgrounds += text.starts_with(told.background + " background");
    if (told.background == "patterned") continue;
    if (told.layout == Layout::kCount) {
      ++counted;
      counts += Mentions(text, kNumbers[told.count]);
    }
    for (const SceneObject& object : told.objects) {
      if (!object.path.empty()) continue;
      ++shapes;
      colours += Mentions(text.substr(text.find("background")), object.name.substr(0, object.name.find(' ')));
    }
  }
  EXPECT_GE(backgrounds * 100, scenes * 90) << backgrounds << " of " << scenes;
  EXPECT_GE(counts * 100, counted * 80) << counts << " of " << counted;
  EXPECT_GE(colours * 100, shapes * 80) << colours << " of " << shapes;
}

TEST(SceneComposer, HeldOutStampsAreLeftOut) {
  auto held_out = ReadExclusions(kRoot / "tests/reference/heldout_stamps.tsv", "stamps");
  ASSERT_TRUE(held_out.ok()) << held_out.status();
  EXPECT_EQ(held_out->size(), 40U);
  auto development = ReadExclusions(kRoot / "tests/reference/dev_stamps.tsv", "stamps");
  ASSERT_TRUE(development.ok()) << development.status();
  held_out->merge(*development);
  EXPECT_EQ(held_out->size(), 80U) << "the lists have a stamp in common";
  auto library = PictureLibrary::Load(kRoot / "assets/captioner/pictures.tsv", kLibraries, *held_out);
  ASSERT_TRUE(library.ok()) << library.status();
  for (const Cutout& cutout : library->cutouts())
    EXPECT_FALSE(held_out->contains(cutout.library + "/" + cutout.path)) << cutout.path;
}

TEST(PictureLibrary, NamesAMissingPictureAndAMalformedLine) {
  const std::filesystem::path table = std::filesystem::path(testing::TempDir()) / "blazon_pictures.tsv";
  std::ofstream(table) << "stamps\tno/such.png\tghost\t-\n";
  auto library = PictureLibrary::Load(table, kLibraries, {});
  EXPECT_EQ(library.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(library.status().message()).find("no/such.png"), std::string::npos);
  std::ofstream(table) << "stamps\tno/such.png\n";
  EXPECT_EQ(PictureLibrary::Load(table, kLibraries, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(EncodeCaptioned, TakesPicturesWithCaptionsAndRefusesTheRestInWords) {
  auto encoder = LoadImageEncoder(kRoot / "models/efficientnet-lite0");
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "blazon_captioned";
  std::filesystem::remove_all(folder);
  EXPECT_EQ(EncodeCaptioned(folder.string(), **encoder).status().code(), absl::StatusCode::kNotFound);
  std::filesystem::create_directories(folder / "more");
  EXPECT_EQ(EncodeCaptioned(folder.string(), **encoder).status().code(), absl::StatusCode::kNotFound);
  const cv::Mat red(40, 60, CV_8UC3, cv::Scalar(35, 35, 215));
  cv::imwrite((folder / "a.png").string(), red);
  cv::imwrite((folder / "b.png").string(), red);
  auto none = EncodeCaptioned(folder.string(), **encoder);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(none.status().message().find("without one: 2"), std::string::npos) << none.status();

  cv::imwrite((folder / "more" / "c.jpg").string(), red);
  std::ofstream(folder / "b.txt") << " A red wall. \r\nsecond line\n";
  std::ofstream(folder / "more" / "c.txt") << "Another red wall.";
  auto pictures = EncodeCaptioned(folder.string(), **encoder);
  ASSERT_TRUE(pictures.ok()) << pictures.status();
  ASSERT_EQ(pictures->texts.size(), 2u);
  EXPECT_EQ(pictures->texts[0].text, "A red wall.");
  EXPECT_EQ(pictures->texts[1].text, "Another red wall.");
  EXPECT_EQ(pictures->texts[1].picture, 1u);
  EXPECT_EQ(pictures->colours, (std::vector<std::string>{"red background", "red background"}));
  EXPECT_EQ(pictures->cells.sizes(), (std::vector<int64_t>{2, kCells, (*encoder)->dimension()}));
  EXPECT_EQ(pictures->without_text, 1);

  // Two texts of one picture, which is encoded once; then the folder's, behind them.
  std::ofstream(folder / "asked.csv") << "picture,question,answer\r\nb.png,\"What colour, please?\",red\r\n"
                                      << "b.png,Is it a wall?,yes\r\n";
  auto asked = EncodeCaptioned((folder / "asked.csv").string(), **encoder);
  ASSERT_TRUE(asked.ok()) << asked.status();
  EXPECT_EQ(asked->cells.size(0), 1);
  Append(*std::move(pictures), *asked);
  EXPECT_EQ(asked->cells.size(0), 3);
  ASSERT_EQ(asked->texts.size(), 4u);
  EXPECT_EQ(asked->texts[0].question, "What colour, please?");
  EXPECT_EQ(asked->texts[1].text, "yes");
  EXPECT_EQ(asked->texts[1].picture, 0u);
  EXPECT_EQ(asked->texts[3].picture, 2u);

  std::ofstream(folder / "a.txt") << std::string(1001, 'x');
  EXPECT_EQ(EncodeCaptioned(folder.string(), **encoder).status().code(), absl::StatusCode::kInvalidArgument);
  std::ofstream(folder / "a.txt") << "A red wall.";
  std::ofstream(folder / "a.png") << "not a picture";
  auto broken = EncodeCaptioned(folder.string(), **encoder);
  EXPECT_EQ(broken.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(broken.status().message().find("a.png"), std::string::npos) << broken.status();
}

TEST(ReadPictureTexts, EachFormatAndWhatIsWrongWithIt) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "blazon_picture_texts";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder / "train2014");
  std::ofstream(folder / "train2014/COCO_train2014_000000000042.jpg") << "x";
  std::ofstream(folder / "train2014/COCO_train2014_000000000007.jpg") << "x";
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(folder / name) << text;
    return (folder / name).string();
  };
  const std::string coco =
      write("coco.json", R"({"images": [{"id": 42, "file_name": "COCO_train2014_000000000042.jpg"}],
      "annotations": [{"id": 1, "image_id": 42, "caption": "A cat."}, {"id": 2, "image_id": 42, "caption": "Cat!"}]})");
  auto read = ReadPictureTexts(coco);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->pictures.size(), 1u);
  ASSERT_EQ(read->texts.size(), 2u);
  EXPECT_EQ(read->texts[1].text, "Cat!");

  const std::string questions = write("questions.json", R"({"questions": [
      {"question_id": 70, "image_id": 7, "question": "How many?"}, {"question_id": 71, "image_id": 42, "question": "Who?"}]})");
  const std::string answers = write("answers.json", R"({"annotations": [
      {"question_id": 71, "answers": [{"answer": "dog"}, {"answer": "cat"}, {"answer": "cat"}]},
      {"question_id": 70, "multiple_choice_answer": "2"}]})");
  read = ReadPictureTexts(questions + "," + answers);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->texts.size(), 2u);
  EXPECT_EQ(read->texts[0].text, "2");
  EXPECT_EQ(read->pictures[0].filename(), "COCO_train2014_000000000007.jpg");
  EXPECT_EQ(read->texts[1].question, "Who?");
  EXPECT_EQ(read->texts[1].text, "cat");
  EXPECT_EQ(ReadPictureTexts(questions).status().code(), absl::StatusCode::kInvalidArgument);

  const std::string picture = "\"image\": \"train2014/COCO_train2014_000000000007.jpg\"";
  read = ReadPictureTexts(write("some.jsonl", "{" + picture + R"(, "question": "Who?", "answers": ["a", "b", "b"]})" +
                                                  "\n\n{" + picture + R"(, "caption": "A dog."})"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->texts[0].text, "b");
  EXPECT_EQ(read->texts[1].text, "A dog.");
  EXPECT_EQ(read->pictures.size(), 1u);

  const auto expect_wrong = [](const std::string& source, absl::StatusCode code, const std::string& words) {
    const absl::Status status = ReadPictureTexts(source).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(status.message().find(words), std::string::npos) << status;
  };
  using enum absl::StatusCode;
  expect_wrong(write("a.jsonl", "{" + picture + ", \"question\": \"Who?\"}"), kInvalidArgument, "a.jsonl:1: ");
  expect_wrong(write("b.jsonl", "{\"image\": \"no.jpg\", \"caption\": \"x\"}"), kNotFound, "no.jpg");
  expect_wrong(write("c.jsonl", "\nnothing"), kInvalidArgument, "c.jsonl:2: ");
  expect_wrong(write("d.jsonl", "{" + picture + ", \"caption\": \"" + std::string(1001, 'x') + "\"}"), kInvalidArgument,
               "1001 bytes");
  expect_wrong(write("e.jsonl", "\n"), kNotFound, "nothing to be learned");
  expect_wrong(write("f.csv", "picture,caption\nonly one\n"), kInvalidArgument, "f.csv, row 1");
  expect_wrong(write("g.json", "{}"), kInvalidArgument, "neither");
  expect_wrong(write("h.json", R"({"annotations": [{"image_id": 5, "caption": "x"}]})"), kInvalidArgument,
               "image_id 5");
  expect_wrong(write("i.txt", "x"), kInvalidArgument, "i.txt");
  expect_wrong((folder / "none.csv").string(), kNotFound, "none.csv");
}

// AdamW written out for one number at a time.
TEST(AdamW, FollowsItsDefinition) {
  const double rate = 0.1, decay = 0.05, beta1 = 0.9, beta2 = 0.99;
  at::Tensor x = at::tensor(std::vector<float>{1.5F, -2.0F, 0.5F}).requires_grad_(true);
  std::vector<double> plain = {1.5, -2.0, 0.5}, mean(3, 0), square(3, 0);
  language::AdamWOptions options;
  options.clip_norm = 0;
  language::AdamW optimiser({{{x}, rate, decay}}, options);
  for (int step = 1; step <= 25; ++step) {
    x.pow(4).sum().backward();
    optimiser.Step(1.0);
    for (size_t i = 0; i < plain.size(); ++i) {
      const double gradient = 4 * std::pow(plain[i], 3);
      plain[i] *= 1 - rate * decay;
      mean[i] = beta1 * mean[i] + (1 - beta1) * gradient;
      square[i] = beta2 * square[i] + (1 - beta2) * gradient * gradient;
      plain[i] -=
          rate * (mean[i] / (1 - std::pow(beta1, step))) / (std::sqrt(square[i] / (1 - std::pow(beta2, step))) + 1e-8);
      EXPECT_NEAR(x[static_cast<int64_t>(i)].item<double>(), plain[i], 1e-4) << "step " << step;
    }
  }
}

TEST(AdamW, ANonFiniteGradientChangesNothing) {
  at::Tensor x = at::ones({2}).requires_grad_(true);
  language::AdamW optimiser({{{x}, 0.1, 0.0}});
  x.log().mul(0).div(0).sum().backward();
  EXPECT_FALSE(std::isfinite(optimiser.Step(1.0)));
  EXPECT_TRUE(at::equal(x.detach(), at::ones({2})));
}

TEST(CosineFactor, WarmsUpAndDecays) {
  EXPECT_LT(language::CosineFactor(0.0, 0.1, 0.0), 0.1);
  EXPECT_NEAR(language::CosineFactor(0.1, 0.1, 0.0), 1.0, 1e-9);
  EXPECT_NEAR(language::CosineFactor(0.55, 0.1, 0.0), 0.5, 1e-9);
  EXPECT_NEAR(language::CosineFactor(1.0, 0.1, 0.02), 0.02, 1e-9);
}

TEST(Lora, StartsAtTheBaseModelAndComesBackFromItsTensors) {
  const auto adapter = language::NewLoraAdapter("test", {{"model.layers.0.self_attn.q_proj", 6, 4}}, 2, 4.0, 1);
  const language::LoraWeights& weights = adapter->modules.at("model.layers.0.self_attn.q_proj");
  EXPECT_EQ(weights.a.sizes(), (std::vector<int64_t>{2, 6}));
  EXPECT_EQ(weights.b.detach().abs().sum().item<double>(), 0);
  EXPECT_EQ(weights.scale, 2.0);
  auto again = language::AdapterFromTensors("test", language::LoraTensors(*adapter), 2.0);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(at::equal((*again)->modules.at("model.layers.0.self_attn.q_proj").a, weights.a.detach()));
  EXPECT_FALSE(language::AdapterFromTensors("test", {{"x.lora_a", at::ones({2, 6})}}, 1.0).ok());
}

TEST(Tagger, ReadsRegionsInWords) {
  std::vector<Concept> concepts = {{"heron", "bird"}, {"egret", "bird"}, {"pig", "animal"}, {"guitar", ""}};
  auto tagger = Tagger::Create(concepts, {0, 1, 2, 3}, at::zeros({4, 8}), at::zeros({4}));
  ASSERT_TRUE(tagger.ok()) << tagger.status();
  at::Tensor one = at::tensor(std::vector<float>{0.02F, 0.02F, 0.94F, 0.02F}).expand({kRegions, 4});
  EXPECT_EQ(tagger->Describe(one), "surely pig");
  one = at::tensor(std::vector<float>{0.45F, 0.40F, 0.1F, 0.05F}).expand({kRegions, 4});
  EXPECT_EQ(tagger->Describe(one), "likely heron or egret, surely bird");
  one = at::tensor(std::vector<float>{0.45F, 0.40F, 0.1F, 0.05F}).expand({kRegions, 4});
  EXPECT_EQ(tagger->Describe(one, Tagger::Manner::kCautious), "surely bird");
  one = at::tensor(std::vector<float>{0.45F, 0.20F, 0.2F, 0.15F}).expand({kRegions, 4});
  EXPECT_EQ(tagger->Describe(one, Tagger::Manner::kCautious), "likely heron or egret, likely bird");
  one = at::tensor(std::vector<float>{0.45F, 0.40F, 0.1F, 0.05F}).expand({kRegions, 4});
  at::Tensor two = one.clone();
  two[1].copy_(at::tensor(std::vector<float>{0.0F, 0.0F, 0.9F, 0.1F}));
  two[2].copy_(at::tensor(std::vector<float>{0.25F, 0.25F, 0.2F, 0.3F}));
  EXPECT_EQ(tagger->Describe(two), "likely heron or egret, surely bird; left surely pig, right likely bird");
  // One that is sure in either half: the whole is both, whatever it looked like at first.
  two[2].copy_(at::tensor(std::vector<float>{0.0F, 0.0F, 0.1F, 0.9F}));
  EXPECT_EQ(tagger->Describe(two), "likely pig or guitar, likely animal; left surely pig, right surely guitar");
  EXPECT_FALSE(Tagger::Create(concepts, {0, 9}, at::zeros({2, 8}), at::zeros({2})).ok());
}

TEST(CaptionerWeights, AnotherEncoderOrABrokenFileIsRefused) {
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "blazon_captioner.safetensors";
  std::ofstream(file) << "not a model";
  EXPECT_FALSE(ReadCaptioner(file).ok());
  EXPECT_EQ(ReadCaptioner(file.string() + ".none").status().code(), absl::StatusCode::kNotFound);
  auto weights = ReadCaptioner(kRoot / "assets/captioner/captioner.safetensors");
  ASSERT_TRUE(weights.ok()) << weights.status();
  ASSERT_TRUE(WriteCaptioner(file, *weights).ok());
  auto again = ReadCaptioner(file);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(at::equal(again->tagger.weight(), weights->tagger.weight()));
  EXPECT_EQ(again->notes["command"], weights->notes["command"]);
  auto encoder = LoadImageEncoder(kRoot / "models/efficientnet-lite0");
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_TRUE(at::allclose(ProbeEncoder(**encoder), weights->vision_probe, 1e-3, 1e-3));
}

}  // namespace
}  // namespace blazon::service
