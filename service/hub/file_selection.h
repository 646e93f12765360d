// Which files of a repository a checkpoint needs.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "service/hub/repository.h"

namespace blazon::service::hub {

// A pickle by its name (.bin, .pt, .pth, .ckpt, .pkl, .pickle): loading one runs code of whoever made it, so none is
// fetched.
bool IsPickleName(absl::string_view name);

struct FileSelection {
  std::vector<HubFile> files;
  // model.safetensors.index.json where it must be read to know the weights' files; they are missing in `files` then.
  std::vector<HubFile> index;
};

// `file` of a reference: that one. "": what a checkpoint needs: the JSON files, vocabularies, chat template and licence
// texts of the repository's top folder, the pooling's config of an embedder, and its weights: model.safetensors, or the
// files that its index names, or the only GGUF file where there are no safetensors.
// kNotFound: no such file; no weights; kInvalidArgument: a pickle, nothing but pickles, or several GGUF files of which
// one must be named; the message says what to do.
absl::StatusOr<FileSelection> SelectFiles(const HubModel& model, absl::string_view file);

// The files that `index` (the JSON text) names, each once. kDataLoss: it is no index, or names a file that the
// repository lacks or that is no safetensors file.
absl::StatusOr<std::vector<HubFile>> FilesOfIndex(const HubModel& model, absl::string_view index);

}  // namespace blazon::service::hub
