#include "daemon/peers/encoder.h"
