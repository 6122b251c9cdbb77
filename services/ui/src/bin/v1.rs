//! The storefront's stable image.

shop_platform::serve!(shop_ui::router(shop_ui::Edition::V1));
