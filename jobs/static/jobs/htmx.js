// The style of its indicators, of which there are none, would be a style element: the Content-Security-Policy forbids it.
"use strict";

htmx.config.includeIndicatorStyles = false;
