#include "daemon/peers/session.h"
