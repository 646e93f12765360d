// How documents that are pictures are read when they are indexed: the captioner says what they show.
#pragma once

#include "retrieval/document_loader.h"
#include "service/captioner.h"
#include "service/model_store.h"

namespace blazon::service {

// `options` with a describer of pictures; captioner and models must outlive what is made of it. The captioner is loaded
// by the first picture. The describer is named by the captioner's name: a captioner of the same name with other weights
// does not describe pictures anew that are indexed already.
retrieval::LoaderOptions WithPictures(Captioner& captioner, const ModelStore& models,
                                      retrieval::LoaderOptions options = {});

}  // namespace blazon::service
