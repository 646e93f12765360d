// Where the default models lie in the repository.
#pragma once

#include <filesystem>

#include "service/model_store.h"

namespace blazon::service {

// The models that `make setup` fetched, and the committed assets.
inline ModelStoreOptions DefaultModelOptions() {
  const std::filesystem::path source = BLAZON_SOURCE_DIR;
  ModelStoreOptions options;
  options.models_folder = source / "models";
  options.assets_folder = source / "assets";
  return options;
}

}  // namespace blazon::service
