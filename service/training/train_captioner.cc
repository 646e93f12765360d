#include "service/training/train_captioner.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "language/models/llama.h"
#include "language/training/lora.h"
#include "service/checkpoint/image_encoder_loader.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/training/captioner_trainer.h"
#include "service/training/evaluate_captioner.h"

namespace blazon::service {
namespace {

absl::Status Validate(const TrainCaptionerOptions& options) {
  struct Range {
    const char* name;
    int64_t value, low, high;
  };
  for (const Range& range : {Range{"scenes", options.scenes, 100, 1000000}, Range{"crops", options.crops, 0, 100000},
                             Range{"edited", options.edited, 200, 1000000},
                             Range{"tagger_steps", options.tagger_steps, options.start_from.empty() ? 1 : 0, 1000000},
                             Range{"alignment_steps", options.alignment_steps, 1, 1000000},
                             Range{"steps", options.steps, options.start_from.empty() ? 1 : 0, 10000000},
                             Range{"tagger_scenes", options.tagger_scenes, 0, 1000000},
                             Range{"batch", options.batch, 1, 256}, Range{"questions", options.questions, 0, 16},
                             Range{"hidden", options.hidden, 16, 8192}, Range{"rank", options.rank, 1, 256}}) {
    if (range.value < range.low || range.value > range.high) {
      return absl::InvalidArgumentError(
          absl::StrCat(range.name, " is ", range.value, "; it must be ", range.low, " to ", range.high));
    }
  }
  if (!(options.captioned_share >= 0 && options.captioned_share <= 1 - CaptionStageOptions().edited_share)) {
    return absl::InvalidArgumentError(absl::StrCat("captioned_share is ", options.captioned_share, "; it must be 0 to ",
                                                   1 - CaptionStageOptions().edited_share));
  }
  for (const auto& [name, value] :
       {std::pair<const char*, double>{"count_share", options.count_share}, {"shape_share", options.shape_share}}) {
    if (!(value >= 0 && value < 1))
      return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; it must be 0 or more, and less than 1"));
  }
  return absl::OkStatus();
}

// A picture that the first two stages may not see: about one in eight of those that are no stamps. FNV-1a of its place.
bool IsReserved(const SceneObject& object) {
  if (object.library == "stamps" || object.path.empty()) return false;
  uint64_t hash = 14695981039346656037ULL;
  for (const char c : absl::StrCat(object.library, "/", object.path))
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash % 8 == 0;
}

}  // namespace

absl::Status TrainCaptioner(const TrainCaptionerOptions& options) {
  absl::Status status = Validate(options);
  if (!status.ok()) return status;
  const TrainingLog log = options.log ? options.log : [](const std::string& line) { std::cerr << line << std::endl; };
  const TrainingStop stop = options.stop ? options.stop : [] { return false; };

  absl::StatusOr<LoadedLanguageModel> language = LoadLanguageModel(options.language_model, {language::Dtype::kFp32});
  if (!language.ok()) return language.status();
  const auto* llama = dynamic_cast<const language::LlamaModel*>(language->model.get());
  if (llama == nullptr)
    return absl::InvalidArgumentError("the captioner is trained over a language model of Llama's kind");
  absl::StatusOr<std::shared_ptr<vision::ImageEncoder>> loaded_encoder = LoadImageEncoder(options.image_encoder);
  if (!loaded_encoder.ok()) return loaded_encoder.status();
  const std::shared_ptr<const vision::ImageEncoder> encoder = *loaded_encoder;

  CaptionedPictures captioned;
  for (const std::string& source : options.captioned) {
    absl::StatusOr<CaptionedPictures> pictures = EncodeCaptioned(source, *encoder);
    if (!pictures.ok()) return pictures.status();
    const auto questions = std::count_if(pictures->texts.begin(), pictures->texts.end(),
                                         [](const PictureText& text) { return !text.question.empty(); });
    log(absl::StrCat(source, ": ", pictures->colours.size(), " pictures with ",
                     pictures->texts.size() - static_cast<size_t>(questions), " captions and ", questions,
                     " answered questions; ", pictures->without_text, " pictures without any left out"));
    Append(*std::move(pictures), captioned);
  }

  std::set<std::string> excluded;
  for (const std::filesystem::path& table : options.held_out) {
    absl::StatusOr<std::set<std::string>> read = ReadExclusions(table, "stamps");
    if (!read.ok()) return read.status();
    excluded.merge(*read);
  }
  absl::StatusOr<PictureLibrary> library = PictureLibrary::Load(options.pictures, options.libraries, excluded);
  if (!library.ok()) return library.status();
  if (library->cutouts().size() < 2) return absl::InvalidArgumentError("no library of cut-outs was given a folder");
  const std::vector<cv::Mat> photos = options.photos.empty() ? std::vector<cv::Mat>() : ReadPhotos(options.photos, 640);
  log(absl::StrCat(library->cutouts().size(), " cut-outs, ", excluded.size(), " held out, ", photos.size(),
                   " photographs"));

  // What is learned from.
  TrainingSet set;
  set.captioned = std::move(captioned);
  SceneOptions scene_options;
  scene_options.libraries = {{"stamps", 0.5}, {"emoji", 0.22}, {"clipart", 0.28}};
  scene_options.count = options.count_share;
  scene_options.shapes = options.shape_share;
  const SceneComposer composer(*library, photos, scene_options);
  std::string key = absl::StrCat("scenes of version 2, ", options.scenes, " seed ", options.seed, " photos ",
                                 photos.size(), " counts ", options.count_share, " shapes ", options.shape_share);
  for (const Cutout& cutout : library->cutouts())
    absl::StrAppend(&key, "\n", cutout.library, "/", cutout.path, " ", cutout.name, " ", cutout.kind);
  const auto counted = [&](const std::string& what, int64_t all) {
    return [&log, &stop, what, all](int64_t done) {
      if (done % 800 == 0) log(absl::StrCat(what, ": ", done, " of ", all));
      return !stop();
    };
  };
  const bool cached = !options.cache.empty() && std::filesystem::exists(options.cache);
  absl::StatusOr<SceneFeatures> scenes =
      cached ? ReadSceneFeatures(options.cache, key)
             : EncodeScenes(composer, *encoder, options.scenes, options.seed, counted("scenes", options.scenes));
  if (!scenes.ok()) return scenes.status();
  set.scenes = *std::move(scenes);
  if (!options.cache.empty() && !cached) {
    status = WriteSceneFeatures(options.cache, key, set.scenes);
    if (!status.ok()) return status;
  }
  for (const SceneDescription& scene : set.scenes.descriptions) {
    char reserved = 0;
    for (const SceneObject& object : scene.objects) reserved |= IsReserved(object) ? 1 : 0;
    set.reserved.push_back(reserved);
  }
  if (!photos.empty() && options.crops > 0) set.crops = EncodeCrops(photos, *encoder, options.crops, options.seed + 1);
  EditFeatures(*encoder, options.edited, options.seed + 2, set);

  std::vector<Concept> concepts;
  std::vector<int64_t> row_concepts;
  BuildConcepts(encoder->labels(), library->names(), concepts, row_concepts);

  std::optional<CaptionerWeights> weights;
  const double scale = 2.0;  // alpha is twice the rank
  if (options.start_from.empty()) {
    absl::StatusOr<Tagger> tagger =
        TrainTagger(*encoder, set, concepts, row_concepts, false, options.tagger_steps, options.seed + 3, log, stop);
    if (!tagger.ok()) return tagger.status();
    std::vector<language::LoraTarget> targets;
    const language::LlamaConfig& config = llama->llama_config();
    const int64_t head = config.head_width > 0 ? config.head_width : config.width / config.heads;
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const std::string attention = absl::StrCat("model.layers.", layer, ".self_attn.");
      targets.push_back({attention + "q_proj", config.width, config.heads * head});
      targets.push_back({attention + "k_proj", config.width, config.key_heads * head});
      targets.push_back({attention + "v_proj", config.width, config.key_heads * head});
      targets.push_back({attention + "o_proj", config.heads * head, config.width});
    }
    const absl::StatusOr<std::string> language_digest = language->digest.Get();
    if (!language_digest.ok()) return language_digest.status();
    const double length =
        language->model->Embed(at::arange(1000, 3000, at::kLong)).to(at::kFloat).norm(2, {1}).mean().item<double>();
    weights.emplace(CaptionerWeights{
        vision::Projector::Random(kCells, encoder->dimension(), options.hidden, config.width, length, options.seed + 4),
        *std::move(tagger),
        language::NewLoraAdapter("captioner", targets, options.rank, scale * static_cast<double>(options.rank),
                                 options.seed + 5),
        scale,
        ProbeEncoder(*encoder),
        config.width,
        *language_digest,
        {}});
    status = AlignConnector(*encoder, *language->model, *language->tokenizer, set, *weights, options.alignment_steps,
                            options.seed + 6, log, stop);
    if (!status.ok()) return status;
  } else {
    absl::StatusOr<CaptionerWeights> read = ReadCaptioner(options.start_from);
    if (!read.ok()) return read.status();
    weights.emplace(*std::move(read));
    std::set<std::string> known;
    for (const Concept& concept_ : weights->tagger.concepts()) known.insert(concept_.name);
    for (const Concept& concept_ : concepts) {
      if (known.contains(concept_.name)) continue;
      return absl::FailedPreconditionError(
          absl::StrCat(options.start_from.string(), " was trained with another table of pictures, which lacks \"",
                       concept_.name, "\"; give that table with --pictures, or leave out --start-from"));
    }
  }
  if (stop()) return absl::CancelledError("stopped before the caption stage; nothing was written");
  weights->notes["command"] = options.command;
  weights->notes["seed"] = absl::StrCat(options.seed);

  // Some scenes to watch: of the reserved pictures, so that what is held out stays unseen.
  at::Tensor watched;
  std::vector<int64_t> shown;
  for (int64_t i = 0; i < set.scenes.cells.size(0) && shown.size() < 24; ++i) {
    if (shown.size() < 12 ? set.reserved[static_cast<size_t>(i)] : true) shown.push_back(i);
  }
  std::vector<std::string> watched_colours;
  for (const int64_t i : shown) watched_colours.push_back(set.scenes.colours[static_cast<size_t>(i)]);
  watched = set.scenes.cells.index_select(0, at::tensor(shown, at::kLong)).to(at::kFloat);
  const auto evaluate = [&](int64_t step) {
    absl::StatusOr<std::shared_ptr<CaptionerFamily>> family =
        CaptionerFamily::Create(*weights, encoder, *language->tokenizer, language->model->config().width);
    if (!family.ok()) return;
    const std::vector<EncodedImage> encoded =
        (*family)->EncodeCells(watched, watched_colours, Tagger::Manner::kCautious);
    absl::StatusOr<std::vector<std::string>> captions =
        GreedyCaptions(*language->model, *language->tokenizer, **family, encoded);
    if (!captions.ok()) return;
    for (size_t i = 0; i < shown.size(); ++i) {
      const SceneDescription& scene = set.scenes.descriptions[static_cast<size_t>(shown[i])];
      log(absl::StrCat("  step ", step, ": ", scene.count > 1 ? absl::StrCat(scene.count, " x ") : "",
                       scene.objects[0].name,
                       scene.objects.size() > 1
                           ? absl::StrCat(scene.layout == Layout::kSideBySide ? " | " : " over ", scene.objects[1].name)
                           : "",
                       " [", encoded[i].reading, "] -> ", (*captions)[i]));
    }
    const absl::Status written = WriteCaptioner(options.output, *weights);
    if (!written.ok()) log(std::string(written.message()));
  };
  CaptionStageOptions stage;
  stage.steps = options.steps;
  stage.batch = options.batch;
  stage.connector_rate = options.connector_rate;
  stage.adapter_rate = options.adapter_rate;
  stage.weight_decay = options.weight_decay;
  stage.seed = options.seed + 7;
  stage.evaluate_every = options.evaluate_every;
  stage.captioned_share = options.captioned_share;
  stage.questions = options.questions;
  status = TrainCaptions(encoder, *language->model, *language->tokenizer, set, *weights, stage, log, stop, evaluate);
  if (!status.ok()) return status;

  status = WriteCaptioner(options.output, *weights);
  if (!status.ok()) return status;

  if (options.tagger_steps == 0) return absl::OkStatus();

  // The strangers have done their work; the tagger that is kept knows them too, and more scenes.
  if (options.tagger_scenes > 0 && !stop()) {
    scene_options.augmentation = Augmentation::kMild;
    const SceneComposer mild(*library, photos, scene_options);
    absl::StatusOr<SceneFeatures> more = EncodeScenes(mild, *encoder, options.tagger_scenes, options.seed + 8,
                                                      counted("scenes for the tagger", options.tagger_scenes));
    if (more.ok()) {
      set.scenes.cells = at::cat({set.scenes.cells, more->cells});
      set.scenes.descriptions.insert(set.scenes.descriptions.end(), more->descriptions.begin(),
                                     more->descriptions.end());
      set.reserved.resize(set.scenes.descriptions.size(), 0);
    } else if (!absl::IsCancelled(more.status())) {
      return more.status();
    }
  }
  absl::StatusOr<Tagger> tagger = TrainTagger(*encoder, set, concepts, row_concepts, true, options.tagger_steps,
                                              options.seed + 3, log, [] { return false; });
  if (!tagger.ok()) return tagger.status();
  weights->tagger = *std::move(tagger);
  return WriteCaptioner(options.output, *weights);
}

}  // namespace blazon::service
