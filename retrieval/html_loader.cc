// HTML by gumbo: the text a reader would see, in document order.
#include <gumbo.h>

#include <algorithm>
#include <csetjmp>
#include <cstdlib>
#include <ctime>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "retrieval/format_loaders.h"
#include "retrieval/text_builder.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

// Memory and time for one parse. gumbo takes as much as a page makes it take (its work is quadratic in depth and in
// attributes), frees by recursion, and cannot stop; so it gets its memory here, and a page that asks for too much is
// left by a jump over gumbo's own frames.
class ParseBudget {
 public:
  explicit ParseBudget(size_t source_bytes)
      : bytes_left_(std::min<size_t>((size_t{64} << 20) + 64 * source_bytes, size_t{1} << 30)),
        deadline_(Now() + 0.5 + static_cast<double>(source_bytes) / (4 << 20)) {}
  ~ParseBudget() {
    while (blocks_) std::free(std::exchange(blocks_, blocks_->next));
  }
  ParseBudget(const ParseBudget&) = delete;

  // Null when the budget did not last.
  GumboOutput* Parse(std::string_view source) {
    GumboOptions options = kGumboDefaultOptions;
    options.max_errors = 0;
    options.userdata = this;
    options.allocator = [](void* budget, size_t size) { return static_cast<ParseBudget*>(budget)->Allocate(size); };
    options.deallocator = [](void*, void*) {};  // all at once, in the destructor
    if (setjmp(escape_) != 0) return nullptr;
    return gumbo_parse_with_options(&options, source.data(), source.size());
  }

 private:
  struct alignas(16) Block {
    Block* next;
  };
  static double Now() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  }
  void* Allocate(size_t size) {
    constexpr size_t kBlockBytes = 1 << 20;
    size = (size + 15) & ~size_t{15};
    if (++allocations_ % 1024 == 0 && Now() > deadline_) longjmp(escape_, 1);
    if (size > free_) {
      const size_t wanted = std::max(size, kBlockBytes);
      Block* block = wanted <= bytes_left_ ? static_cast<Block*>(std::malloc(sizeof(Block) + wanted)) : nullptr;
      if (!block) longjmp(escape_, 1);
      bytes_left_ -= wanted;
      block->next = blocks_;
      blocks_ = block;
      place_ = reinterpret_cast<char*>(block + 1);
      free_ = wanted;
    }
    void* result = place_;
    place_ += size;
    free_ -= size;
    return result;
  }
  size_t bytes_left_;
  double deadline_;
  size_t allocations_ = 0;
  Block* blocks_ = nullptr;
  char* place_ = nullptr;
  size_t free_ = 0;
  jmp_buf escape_;
};

bool IsHidden(GumboTag tag) {
  switch (tag) {
    case GUMBO_TAG_SCRIPT:
    case GUMBO_TAG_STYLE:
    case GUMBO_TAG_TEMPLATE:
    case GUMBO_TAG_NOSCRIPT:
    case GUMBO_TAG_IFRAME:
    case GUMBO_TAG_OBJECT:
    case GUMBO_TAG_SVG:
    case GUMBO_TAG_HEAD:
    case GUMBO_TAG_SELECT:
    case GUMBO_TAG_TEXTAREA:
      return true;
    default:
      return false;
  }
}

bool IsParagraph(GumboTag tag) {
  switch (tag) {
    case GUMBO_TAG_P:
    case GUMBO_TAG_DIV:
    case GUMBO_TAG_SECTION:
    case GUMBO_TAG_ARTICLE:
    case GUMBO_TAG_MAIN:
    case GUMBO_TAG_HEADER:
    case GUMBO_TAG_FOOTER:
    case GUMBO_TAG_NAV:
    case GUMBO_TAG_ASIDE:
    case GUMBO_TAG_BLOCKQUOTE:
    case GUMBO_TAG_PRE:
    case GUMBO_TAG_UL:
    case GUMBO_TAG_OL:
    case GUMBO_TAG_DL:
    case GUMBO_TAG_TABLE:
    case GUMBO_TAG_FIGURE:
    case GUMBO_TAG_FIGCAPTION:
    case GUMBO_TAG_HR:
    case GUMBO_TAG_FORM:
    case GUMBO_TAG_FIELDSET:
    case GUMBO_TAG_DETAILS:
    case GUMBO_TAG_SUMMARY:
    case GUMBO_TAG_ADDRESS:
    case GUMBO_TAG_CAPTION:
    case GUMBO_TAG_BODY:
      return true;
    default:
      return false;
  }
}

bool IsLine(GumboTag tag) {
  return tag == GUMBO_TAG_LI || tag == GUMBO_TAG_TR || tag == GUMBO_TAG_DT || tag == GUMBO_TAG_DD ||
         tag == GUMBO_TAG_BR || tag == GUMBO_TAG_OPTION;
}

bool IsCell(GumboTag tag) { return tag == GUMBO_TAG_TD || tag == GUMBO_TAG_TH; }

int HeadingLevel(GumboTag tag) { return tag >= GUMBO_TAG_H1 && tag <= GUMBO_TAG_H6 ? tag - GUMBO_TAG_H1 + 1 : 0; }

bool IsHtmlSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f'; }

class HtmlReader {
 public:
  HtmlReader(std::string_view source, int max_nesting) : source_(source), max_nesting_(max_nesting) {}

  absl::Status Read(const GumboNode* root, Document& document) {
    struct Level {
      const GumboNode* node;
      unsigned next_child;
    };
    std::vector<Level> open;
    if (Enter(root)) open.push_back({root, 0});
    while (!open.empty()) {
      Level& level = open.back();
      const GumboVector& children = level.node->v.element.children;
      if (level.next_child == children.length) {
        Leave(level.node);
        open.pop_back();
        continue;
      }
      const auto* child = static_cast<const GumboNode*>(children.data[level.next_child++]);
      switch (child->type) {
        case GUMBO_NODE_ELEMENT:
          if (open.size() >= static_cast<size_t>(max_nesting_))
            return absl::InvalidArgumentError(absl::StrCat("elements are nested deeper than ", max_nesting_));
          if (Enter(child)) open.push_back({child, 0});
          break;
        case GUMBO_NODE_TEXT:
        case GUMBO_NODE_CDATA:
        case GUMBO_NODE_WHITESPACE:
          AddText(child->v.text);
          break;
        default:
          break;
      }
    }
    builder_.Break(1);
    builder_.MoveTo(document);
    document.title = title_.empty() ? first_heading_ : title_;
    return absl::OkStatus();
  }

 private:
  // False: nothing of the element is read.
  bool Enter(const GumboNode* node) {
    const GumboTag tag = node->v.element.tag;
    if (tag == GUMBO_TAG_TITLE && in_head_) {
      ReadTitle(node);
      return false;
    }
    if (tag == GUMBO_TAG_HEAD) in_head_ = true;
    if ((IsHidden(tag) && tag != GUMBO_TAG_HEAD) || gumbo_get_attribute(&node->v.element.attributes, "hidden"))
      return false;
    if (in_head_ && tag != GUMBO_TAG_HEAD) return false;
    if ((IsParagraph(tag) || HeadingLevel(tag)) && !after_marker_)
      builder_.Break(item_depth_ > 0 && tag != GUMBO_TAG_PRE ? 1 : 2);
    if (IsLine(tag)) builder_.Break(1);
    if (tag == GUMBO_TAG_LI) {
      builder_.Add("- ");
      after_marker_ = true;
      ++item_depth_;
    }
    if (tag == GUMBO_TAG_TR) first_cell_ = true;
    if (IsCell(tag)) {
      if (!first_cell_) builder_.Add(" | ");
      first_cell_ = false;
    }
    if (tag == GUMBO_TAG_PRE) ++pre_depth_;
    if (HeadingLevel(tag)) heading_begin_ = builder_.text().size();
    if (tag == GUMBO_TAG_IMG) {
      if (const GumboAttribute* alt = gumbo_get_attribute(&node->v.element.attributes, "alt"); alt && *alt->value)
        builder_.Add(absl::StrCat(alt->value, " "));
    }
    return true;
  }

  void Leave(const GumboNode* node) {
    const GumboTag tag = node->v.element.tag;
    if (tag == GUMBO_TAG_HEAD) in_head_ = false;
    if (tag == GUMBO_TAG_PRE) --pre_depth_;
    if (const int level = HeadingLevel(tag)) {
      const size_t begin = std::min(heading_begin_, builder_.text().size());
      const std::string heading(StripWhitespace(std::string_view(builder_.text()).substr(begin)));
      if (!heading.empty()) builder_.StartSectionAt(begin, headings_.Push(level, heading));
      if (level == 1 && first_heading_.empty()) first_heading_ = heading;
      builder_.Break(2);
    }
    if (tag == GUMBO_TAG_LI) {
      --item_depth_;
      after_marker_ = false;
    }
    if (IsLine(tag) && tag != GUMBO_TAG_BR) builder_.Break(1);
    if (IsParagraph(tag) && !after_marker_) builder_.Break(item_depth_ > 0 ? 1 : 2);
  }

  void ReadTitle(const GumboNode* node) {
    const GumboVector& children = node->v.element.children;
    if (!title_.empty() || children.length == 0) return;
    const auto* child = static_cast<const GumboNode*>(children.data[0]);
    if (child->type != GUMBO_NODE_TEXT) return;
    title_ = child->v.text.text;
    absl::RemoveExtraAsciiWhitespace(&title_);
  }

  void AddText(const GumboText& node) {
    const std::string_view text(node.text);
    const std::string_view original(node.original_text.data, node.original_text.length);
    // As far as text and source agree, the text has a place there; past an entity it has none.
    const bool inside =
        original.data() >= source_.data() && original.data() + original.size() <= source_.data() + source_.size();
    const size_t agreeing =
        inside ? static_cast<size_t>(std::mismatch(text.begin(), text.end(), original.begin(), original.end()).first -
                                     text.begin())
               : 0;
    const size_t place = inside ? static_cast<size_t>(original.data() - source_.data()) : 0;
    for (size_t i = 0; i < text.size();) {
      size_t end = i;
      if (pre_depth_ == 0 && IsHtmlSpace(text[i])) {
        while (end < text.size() && IsHtmlSpace(text[end])) ++end;
        const std::string& so_far = builder_.text();
        if (!so_far.empty() && !IsHtmlSpace(so_far.back())) Emit(" ", i, agreeing, place);
      } else {
        do {
          ++end;
        } while (end < text.size() && end != agreeing && (pre_depth_ > 0 || !IsHtmlSpace(text[end])));
        Emit(text.substr(i, end - i), i, agreeing, place);
        after_marker_ = false;
      }
      i = end;
    }
  }

  void Emit(std::string_view piece, size_t at, size_t agreeing, size_t place) {
    if (at + piece.size() <= agreeing) {
      builder_.Append(piece, place + at);
    } else {
      builder_.Add(piece);
    }
  }

  const std::string_view source_;
  const int max_nesting_;
  TextBuilder builder_;
  HeadingStack headings_;
  std::string title_, first_heading_;
  size_t heading_begin_ = 0;
  int pre_depth_ = 0;
  int item_depth_ = 0;         // open list items: paragraphs in them make lines, not paragraphs
  bool after_marker_ = false;  // the item's "- " has no text yet
  bool first_cell_ = false;
  bool in_head_ = false;
};

}  // namespace

absl::Status LoadHtml(std::string_view source, const LoaderLimits& limits, Document& document) {
  ParseBudget budget(source.size());
  const GumboOutput* output = budget.Parse(source);
  if (!output)
    return absl::InvalidArgumentError("its elements are nested too deep or its attributes are too many to be read");
  return HtmlReader(source, limits.max_nesting).Read(output->root, document);
}

std::string DecodeEntity(std::string_view entity) {
  ParseBudget budget(entity.size());
  const GumboOutput* output = budget.Parse(entity);
  if (!output) return std::string(entity);
  const GumboVector& parts = output->root->v.element.children;  // head, body
  for (unsigned i = 0; i < parts.length; ++i) {
    const auto* part = static_cast<const GumboNode*>(parts.data[i]);
    if (part->type != GUMBO_NODE_ELEMENT || part->v.element.tag != GUMBO_TAG_BODY ||
        part->v.element.children.length == 0)
      continue;
    const auto* text = static_cast<const GumboNode*>(part->v.element.children.data[0]);
    if (text->type == GUMBO_NODE_TEXT) return text->v.text.text;
  }
  return " ";  // an entity of white space is left out before the body
}

}  // namespace blazon::retrieval
