#include "server/tools/document_splitter.h"

#include <cstddef>

namespace chela {
namespace {

constexpr char kFormFeed = '\f';

}  // namespace

void DocumentSplitter::Push(std::string_view bytes) {
  while (!bytes.empty()) {
    if (held_) {
      held_ = false;
      if (bytes.front() == '\n') {
        bytes.remove_prefix(1);
        on_boundary_();
        continue;  // still at a line's start
      }
      at_line_start_ = false;
      on_text_({&kFormFeed, 1});
    }
    if (at_line_start_ && bytes.front() == kFormFeed) {
      held_ = true;
      bytes.remove_prefix(1);
      continue;
    }
    // Up to the next line that may be a boundary.
    size_t length = bytes.find("\n\f");
    length = length == std::string_view::npos ? bytes.size() : length + 1;
    at_line_start_ = bytes[length - 1] == '\n';
    on_text_(bytes.substr(0, length));
    bytes.remove_prefix(length);
  }
}

void DocumentSplitter::Finish() {
  if (held_) on_boundary_();
  held_ = false;
  at_line_start_ = true;
}

}  // namespace chela
