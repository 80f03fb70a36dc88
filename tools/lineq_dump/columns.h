// The columns of a table under the names HAProxy prints (tools/view/columns.h).
#pragma once

#include "tools/view/columns.h"

namespace lineq::dump {

using view::Column;
using view::columns_of;
using view::element_name;

}  // namespace lineq::dump
