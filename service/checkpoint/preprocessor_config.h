// How a checkpoint wants its pictures: its preprocessor config to vision's steps.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "vision/preprocess_plan.h"

namespace blazon::service {

// Of a checkpoint folder: the member "image_processor" of processor_config.json, as transformers 5 writes it; else
// preprocessor_config.json; else, for nanoVLM, whose folders have neither, config.json.
//
// image_processor_type is CLIP-, Siglip- (PaliGemma too), ViT-, Blip-, Llava-, Gemma3-, Idefics3- or
// SmolVLMImageProcessor, with or without the suffix Fast; where it is missing, feature_extractor_type or config.json's
// model_type stands in for it. Members that are missing or null have the defaults of that class.
//
// Followed: transformers 5.17.0 with torchvision 0.26 and Pillow 13, where either name means the torchvision backend
// (uint8 tensors, rescaling folded into the normalisation), and Idefics3 and SmolVLM, whose Lanczos filter that
// torchvision lacks, mean Pillow's. For what transformers 4 computed under the names without Fast, set `arithmetic` of
// the result to kPillow13, or to kPillow for the Pillow of that time. A Lanczos or box filter in another class is
// computed as Pillow does, where the torchvision backend would take a bicubic filter in its stead or fail.
// Gemma3Processor switches pan and scan off unless its caller asks for it; here the config's do_pan_and_scan counts, as
// for Gemma3ImageProcessor by itself, and its numbers are Gemma3Processor's where the config has none. Pictures are
// always RGB and pixels always channels first, so do_convert_rgb is without effect.
//
// nanoVLM (huggingface/nanoVLM, data/processors.py of each age): without max_img_size the picture is squashed to
// vit_img_size, bilinear; with it, tiles; and with a "global_image_token" among vlm_extra_tokens the whole first.
//
// kNotFound: none of the files is there. kDataLoss: one is not JSON. kInvalidArgument: a member is missing or out of
// range. kUnimplemented: another image_processor_type, filter or size rule, or a member that is not known, because it
// might change pixels. Messages name the file and the member.
absl::StatusOr<vision::PreprocessorConfig> ReadPreprocessorConfig(const std::filesystem::path& folder);

}  // namespace blazon::service
