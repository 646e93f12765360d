// blazon caption: says in words what pictures show.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/generation_options.h"
#include "service/cli/input.h"
#include "service/cli/interrupt.h"
#include "service/cli/progress.h"

namespace blazon::service::cli {
namespace {

namespace fs = std::filesystem;

struct CaptionFlags {
  std::vector<std::string> files;
  std::string folder, files_from, instruction;
  bool nul = false, beside = false;
  GenerationFlags generation;
};

// All pictures under `folder` by the ending of their names, in order; hidden ones are left out, links to folders not
// followed.
absl::StatusOr<std::vector<std::string>> FindPictures(const fs::path& folder) {
  static const std::set<std::string> kEndings = {".jpg", ".jpeg", ".png", ".webp", ".bmp"};
  std::error_code error;
  if (!fs::is_directory(folder, error)) return absl::NotFoundError(absl::StrCat(folder.string(), ": no such folder"));
  std::vector<std::string> pictures;
  for (auto entry = fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied, error);
       !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (entry->path().filename().string().starts_with(".")) {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file(error) &&
               kEndings.contains(absl::AsciiStrToLower(entry->path().extension().string()))) {
      pictures.push_back(entry->path().string());
    }
  }
  if (error) return absl::UnavailableError(absl::StrCat(folder.string(), " could not be read: ", error.message()));
  std::sort(pictures.begin(), pictures.end());
  return pictures;
}

bool WriteBeside(const std::string& picture, const std::string& text) {
  std::ofstream file(fs::path(picture).replace_extension(".txt"));
  file << text << "\n";
  file.flush();
  return file.good();
}

class CaptionRun {
 public:
  CaptionRun(const CaptionFlags& flags, Context& context, v1::GenerationOptions options)
      : flags_(flags), context_(context), options_(std::move(options)), progress_("Captioned") {}

  int Run(const std::vector<std::string>& files) {
    absl::StatusOr<Backend*> backend = context_.OpenBackend();
    if (!backend.ok()) return Fail(backend.status());
    size_t next = 0;
    int64_t done = 0;
    const absl::Status status = (*backend)->CaptionImages(
        [&]() -> std::optional<v1::CaptionImagesRequest> {
          while (next < files.size() && !Interrupted()) {
            const std::string& file = files[next++];
            absl::StatusOr<std::string> bytes = ReadInput(file);
            if (!bytes.ok()) {
              failed_ = true;
              Fail(bytes.status());  // it names the file
              continue;
            }
            v1::CaptionImagesRequest request;
            request.set_id(std::to_string(next - 1));
            request.mutable_image()->set_data(*std::move(bytes));
            request.set_instruction(flags_.instruction);
            *request.mutable_options() = options_;
            return request;
          }
          return std::nullopt;
        },
        [&](const v1::CaptionImagesResponse& response) {
          const std::string& file = files[std::stoul(response.id())];
          if (response.has_error()) {
            Report(file,
                   absl::Status(static_cast<absl::StatusCode>(response.error().code()), response.error().message()));
          } else {
            Print(file, response.caption(), files.size() > 1);
          }
          if (files.size() > 1) progress_.Show(++done, files.size(), file);
        });
    if (!status.ok()) return Fail(status);
    return failed_ ? kFailed : kDone;
  }

 private:
  void Print(const std::string& file, const v1::CaptionResponse& caption, bool named) {
    if (flags_.beside && !WriteBeside(file, caption.text())) {
      return Report(file, absl::UnavailableError("the caption could not be written beside it"));
    }
    if (context_.json || !flags_.folder.empty()) {
      PrintJson("file", file, caption);
    } else {
      std::cout << (named ? absl::StrCat(file, ": ") : "") << caption.text() << std::endl;
    }
  }

  void Report(const std::string& file, const absl::Status& status) {
    failed_ = true;
    Fail(absl::Status(status.code(), absl::StrCat(file == "-" ? "standard input" : file, ": ", status.message())));
  }

  const CaptionFlags& flags_;
  Context& context_;
  v1::GenerationOptions options_;
  Progress progress_;
  bool failed_ = false;
};

int RunCaption(const CaptionFlags& flags, Context& context) {
  absl::StatusOr<v1::GenerationOptions> options = ToOptions(flags.generation, context);
  if (!options.ok()) return Fail(options.status(), kWrongUsage);
  absl::StatusOr<std::vector<std::string>> files = GatherPaths(flags.files, flags.files_from, flags.nul);
  if (!files.ok()) return Fail(files.status());
  if (!flags.folder.empty()) {
    absl::StatusOr<std::vector<std::string>> found = FindPictures(flags.folder);
    if (!found.ok()) return Fail(found.status());
    files->insert(files->end(), found->begin(), found->end());
    if (files->empty())
      return Fail(absl::NotFoundError(absl::StrCat(flags.folder, " holds no pictures (jpg, jpeg, png, webp, bmp)")),
                  kNoMatch);
  }
  if (files->empty())
    return Fail(absl::InvalidArgumentError("give pictures, -r DIR or --files-from FILE"), kWrongUsage);
  return CaptionRun(flags, context, *std::move(options)).Run(*files);
}

}  // namespace

void AddCaption(CLI::App& app, Context& context) {
  auto flags = std::make_shared<CaptionFlags>();
  CLI::App* command = app.add_subcommand("caption", "Say in words what pictures show");
  command->add_option("file", flags->files, "JPEG, PNG, WebP or BMP files; - reads one from standard input");
  command->add_option("-r,--recursive", flags->folder, "Caption all pictures under this folder, as JSON Lines")
      ->type_name("DIR");
  command->add_flag("--beside", flags->beside, "Also write each caption to a .txt file beside its picture");
  command
      ->add_option("--files-from", flags->files_from,
                   "Read file names from this list, one a line; - reads standard input")
      ->type_name("FILE");
  command->add_flag("-0", flags->nul, "Names in the list end with a NUL character instead of a line break");
  command
      ->add_option("--instruction,--prompt", flags->instruction,
                   "What to say about the picture (default: what the model was trained to caption by)")
      ->type_name("TEXT");
  AddGenerationOptions(*command, flags->generation);
  command->footer(
      R"(With --json each line has the picture's name in "file". A picture that cannot be read is reported and the others go on;
the exit status is then 1.

Examples:
  blazon caption photo.jpg
  blazon caption --json *.png
  blazon caption -r ~/pictures --beside > captions.jsonl
  blazon caption --model ~/models/paligemma-3b-mix-224 --prompt "caption de" photo.jpg
  find . -name '*.jpg' -print0 | blazon caption -0 --files-from -)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunCaption(*flags, context); }; });
}

}  // namespace blazon::service::cli
